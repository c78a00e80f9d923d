"""The messages of the built-in kinds: field numbers, names and types, read from `fields.txt`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import NamedTuple


class Field(NamedTuple):
    """A field. `name` is empty when it is inlined; `shape` is empty, `*` (list), `%` (map) or `=` (map of lists).

    `type` is s, i, b, d, y or a message's name; `drop`: a zero value is left out.
    """

    name: str
    shape: str
    type: str
    drop: bool


@cache
def _lines() -> dict[str, str]:
    text = resources.files(__package__).joinpath("fields.txt").read_text()
    return dict(line.partition(" ")[::2] for line in text.splitlines())


@cache
def fields_of(message: str) -> dict[int, Field]:
    """The fields of a message by number. Raises KeyError for an unknown one."""
    found: dict[int, Field] = {}
    for item in _lines()[message].split():
        name, _, rest = item.partition("=")
        number, _, kind = rest.partition(":")
        drop, kind = kind.endswith("-"), kind.removesuffix("-")
        shape = ""
        if kind[0] in "*%":
            shape, kind = kind[0], kind[1:]
        if kind[0] == "=":
            shape, kind = (shape + "=") if shape else "=", kind[1:]
        found[int(number)] = Field(name, shape, kind, drop)
    return found
