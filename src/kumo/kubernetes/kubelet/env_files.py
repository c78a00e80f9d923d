"""Variables from a file in a volume (`env[].valueFrom.fileKeyRef`). Pure but for reading the file.

The file has lines `NAME='value'`; a value may span lines, and blank lines and those beginning with # count for nothing.
Upstream: `pkg/kubelet/util/env` (KEP-3721).
"""

from __future__ import annotations

import os
from pathlib import Path

_LIMIT = 1 << 20


class BadFile(Exception):
    """The file is not as it should be; the text says where."""


def value_in(text: str, wanted: str) -> str:
    """The value of a variable, empty if it is not there. Raises BadFile."""
    lines = text.splitlines()
    index = 0
    while index < len(lines):
        line = lines[index].lstrip(" \t")
        number = index = index + 1
        if not line or line.startswith("#"):
            continue
        name, equals, rest = line.partition("=")
        if not equals:
            raise BadFile(f"invalid environment variable format at line {number}: missing '='")
        if not name.strip(" \t"):
            raise BadFile(f"invalid environment variable format at line {number}: empty variable name")
        if name != name.rstrip(" \t"):
            why = "whitespace before '=' is not allowed"
            raise BadFile(f"invalid environment variable format at line {number}: {why}")
        if rest != rest.lstrip(" \t"):
            if name == wanted:
                return ""
            continue
        if not rest.startswith("'"):
            why = "value must be enclosed in single quotes"
            raise BadFile(f"invalid environment variable format at line {number}: {why}")
        value, index = _quoted(lines, rest[1:], number, index)
        if name == wanted:
            return value
    return ""


def _quoted(lines: list[str], rest: str, number: int, index: int) -> tuple[str, int]:
    """The text up to the closing quote, and the index of the line after it."""
    parts = []
    while True:
        text, quote, after = rest.partition("'")
        parts.append(text)
        if quote:
            left = after.lstrip(" \t")
            if left and not left.startswith("#"):
                why = "unexpected content after closing quote"
                raise BadFile(f"invalid environment variable format at line {index}: {why}")
            return "\n".join(parts), index
        if index >= len(lines):
            raise BadFile(f"unclosed single quote starting at line {number}")
        rest = lines[index]
        index += 1


def read(root: Path, path: str) -> str:
    """The file's text; links must not lead out of `root`. Blocking. Raises BadFile, OSError."""
    base = Path(os.path.realpath(root))
    target = Path(os.path.realpath(base / path.lstrip("/")))
    if base not in target.parents:
        raise BadFile(f"{path} leads out of its volume")
    with target.open("rb") as stream:
        return stream.read(_LIMIT).decode(errors="replace")
