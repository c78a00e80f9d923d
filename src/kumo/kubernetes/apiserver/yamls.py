"""Answers as YAML: as sigs.k8s.io/yaml writes them (keys in order, block style), by libyaml where it is there."""

from __future__ import annotations

import re
from typing import Any

import yaml

_BaseDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_FIRST = frozenset("-+.0123456789yYnNtTfFoO~")
_OTHER = re.compile(
    r"~|(?i:true|false|yes|no|on|off|null|[yn])|[-+]?\.(?i:inf|nan)|[-+]?[0-9_.]+([eE][-+]?[0-9]+)?|[-+]?0[box][0-9a-fA-F_]+"
    r"|[-+]?[0-9]+(:[0-9.]+)+|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"
)
"""Texts that a reader of YAML may take for a truth value, a number or a time, whatever its version."""


class _Dumper(_BaseDumper):  # type: ignore[misc,valid-type]
    """Each value is written out where it is, none by reference to another."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def _text(dumper: Any, value: str) -> Any:
    style = None
    if "\n" in value:
        style = "|"
    elif not value or (value[0] in _FIRST and _OTHER.fullmatch(value)):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _text)


def dump(value: Any) -> bytes:
    """A JSON-shaped value as a YAML document."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True)
    return text.removesuffix("...\n").encode()


def item(value: Any) -> bytes:
    """The value as an item of a sequence at the left margin."""
    return b"- " + dump(value).replace(b"\n", b"\n  ").removesuffix(b"  ")
