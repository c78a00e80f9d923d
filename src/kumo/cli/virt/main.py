"""The command group, and how its faults are shown: the message on standard error, exit code 1, as virtctl does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from kumo.api.errors import StatusError
from kumo.cli.virt.session import Session, SessionError

_COMMANDS = {
    "console": "kumo.cli.virt.console",
    "pause": "kumo.cli.virt.lifecycle",
    "port-forward": "kumo.cli.virt.port_forward",
    "reset": "kumo.cli.virt.lifecycle",
    "restart": "kumo.cli.virt.lifecycle",
    "soft-reboot": "kumo.cli.virt.lifecycle",
    "ssh": "kumo.cli.virt.ssh",
    "start": "kumo.cli.virt.lifecycle",
    "stop": "kumo.cli.virt.lifecycle",
    "unpause": "kumo.cli.virt.lifecycle",
    "vnc": "kumo.cli.virt.vnc",
}
_SCREENSHOT = "vnc screenshot"


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name.partition(" ")[0])
        if module is None:
            return None
        name = "screenshot" if cmd_name == _SCREENSHOT else cmd_name.replace("-", "_")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS:
            raise SessionError(f'unknown command "{args[0]}" for "{ctx.command_path}"')
        # A subcommand of a command that is one itself, which click has no notion of.
        name = _SCREENSHOT if args[:2] == _SCREENSHOT.split() else args[0]
        return name, self.get_command(ctx, name), args[len(name.split()) :]

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (SessionError, StatusError, ConnectionError) as error:
            click.echo(str(error), err=True)
            sys.exit(1)


@click.group(
    "virt",
    cls=_Group,
    short_help="Control virtual machines, as virtctl does.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--kubeconfig", type=click.Path(path_type=Path, dir_okay=False), help="Path to the kubeconfig file.")
@click.option("--context", default="", help="The name of the kubeconfig context to use.")
@click.option("-n", "--namespace", default="", help="If present, the namespace scope for this CLI request.")
@click.pass_context
def command(ctx: click.Context, kubeconfig: Path | None, context: str, namespace: str) -> None:
    """Control virtual machines: start, stop, restart, pause, console, vnc, ssh, port-forward."""
    ctx.obj = Session(kubeconfig, context, namespace)


def main() -> None:
    """The kubectl plugin's entry point."""
    command(prog_name="kubectl virt")
