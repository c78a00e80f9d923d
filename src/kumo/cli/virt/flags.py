"""Flags and arguments as virtctl reads them (cobra, pflag): `--flag=true` for switches, its messages, exit code 1."""

from __future__ import annotations

import re
from typing import Any

import click

from kumo.cli.virt.session import SessionError

_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


def _shown(option: click.Option) -> str:
    """The flag's name as pflag shows it in messages: `-p, --port`."""
    return ", ".join(sorted(option.opts, key=len))


class Integer(click.ParamType[int]):
    """A whole number, refused in pflag's words."""

    name = "int"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Raises SessionError."""
        try:
            return int(value)
        except ValueError as error:
            flag = _shown(param) if isinstance(param, click.Option) else ""
            why = f'strconv.ParseInt: parsing "{value}": invalid syntax'
            raise SessionError(f'invalid argument "{value}" for "{flag}" flag: {why}') from error


INTEGER = Integer()


class Command(click.Command):
    """A command that refuses wrong flags and numbers of arguments in virtctl's words.

    Arguments count as many as are declared; one with `nargs=-1` is counted by the command itself.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse. Raises SessionError for what virtctl refuses."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        args = _plain_switches(args, options)
        if set(ctx.help_option_names) & set(args):
            return super().parse_args(ctx, args)
        arguments = [p for p in self.params if isinstance(p, click.Argument)]
        try:
            _, given, _ = click.Command(None, params=list(options)).make_parser(ctx).parse_args(list(args))
        except click.UsageError as error:
            raise SessionError(_words(error, args)) from error
        if all(a.nargs == 1 for a in arguments) and len(given) != len(arguments):
            raise SessionError(f"accepts {len(arguments)} arg(s), received {len(given)}")
        return super().parse_args(ctx, args)


def _plain_switches(args: list[str], options: list[click.Option]) -> list[str]:
    """`--switch=true` becomes `--switch`, `--switch=false` goes. Raises SessionError for other values."""
    switches = {name: o for o in options if o.is_flag and not o.count for name in o.opts}
    made: list[str] = []
    for index, arg in enumerate(args):
        if arg == "--":
            return made + args[index:]
        name, equals, value = arg.partition("=")
        if not equals or name not in switches:
            made.append(arg)
        elif value in _TRUE:
            made.append(name)
        elif value not in _FALSE:
            why = f'strconv.ParseBool: parsing "{value}": invalid syntax'
            raise SessionError(f'invalid argument "{value}" for "{_shown(switches[name])}" flag: {why}')
    return made


def _words(error: click.UsageError, args: list[str]) -> str:
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        if name.startswith("--"):
            return f"unknown flag: {name}"
        whole = next((a for a in args if re.match(rf"-[^-]*{re.escape(name[-1])}", a)), name)
        return f"unknown shorthand flag: {name[-1]!r} in {whole}"
    if isinstance(error, click.BadOptionUsage):
        name = error.option_name
        return (
            f"flag needs an argument: {name}"
            if name.startswith("--")
            else (f"flag needs an argument: {name[-1]!r} in {name}")
        )
    return error.format_message()
