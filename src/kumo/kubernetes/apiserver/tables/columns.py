"""What a table's columns are, and a short notation for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object

Cells = Callable[[Object, float], list[Any]]
"""The cells of an object's row; the second argument is the time, in seconds since the epoch."""

NAME = "Name must be unique within a namespace. Is required when creating resources."
AGE = "CreationTimestamp is the time when this object was created, in RFC3339 form and in UTC."


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a kind, as `TableColumnDefinition`s, and what makes a row's cells and conditions."""

    definitions: tuple[dict[str, Any], ...]
    cells: Cells
    conditions: Callable[[Object], list[dict[str, Any]] | None] = field(default=lambda obj: None)
    order: Callable[[Object], Any] | None = None
    """Sorts the rows of a list that is not to be shown in the order of names."""


def column(name: str, kind: str = "string", description: str = "", *, wide: bool = False) -> dict[str, Any]:
    """One definition; `wide` columns are shown with `-o wide` only."""
    return {
        "name": name,
        "type": kind,
        "format": "name" if name in ("Name", "Attacher") else "",
        "description": description or (NAME if name == "Name" else AGE if name == "Age" else name),
        "priority": 1 if wide else 0,
    }


def columns(notation: str, cells: Cells, **more: Any) -> Columns:
    """Columns from a text of names joined by `|`: `#` in front for integers, `?` for booleans, `+` for wide ones."""
    definitions = []
    for part in notation.split("|"):
        name = part.strip()
        wide = name.startswith("+")
        name = name.removeprefix("+")
        kind = {"#": "integer", "?": "boolean"}.get(name[:1], "string")
        definitions.append(column(name.lstrip("#?"), kind, wide=wide))
    return Columns(tuple(definitions), cells, **more)
