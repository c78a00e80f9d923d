"""Whether what somebody applies fits the schema at all: structured-merge-diff's own check, with its words.

Source: `sigs.k8s.io/structured-merge-diff/typed/validate.go`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from kumo.api.go_text import go_type
from kumo.api.patch.field_sets import shown
from kumo.api.patch.shapes import Shape
from kumo.api.patch.typed import TypedError, item_element


class Complaint(NamedTuple):
    """What is wrong at a place (`.spec.replicas`)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


_ANYTHING = frozenset(("any", "deduced", "int-or-string"))


def complaints(shape: Shape, value: Any) -> list[Complaint]:
    """What doesn't fit: unknown fields, wrong types, items that are there twice or lack their keys.

    The paths begin here; who looked into something larger puts its own before them.
    """
    node = shape.node
    if value is None or node is None:
        return []
    kind = node.type
    if kind == "object" or kind == "map":
        if not isinstance(value, dict):
            return [Complaint("", f"expected map, got {_described(value)}")]
        return _of_fields(shape, value)
    if kind == "array":
        if not isinstance(value, list):
            return [Complaint("", f"expected list, got {_described(value)}")]
        return _of_items(shape, value)
    message = "" if kind in _ANYTHING else _scalar(kind, node.format, value)
    return [Complaint("", message)] if message else []


def _of_fields(shape: Shape, value: dict[str, Any]) -> list[Complaint]:
    node = shape.node
    assert node is not None
    fields = node.fields
    closed = bool(fields) and node.values is None and not node.preserve
    found: list[Complaint] = []
    for name in sorted(value):
        known = fields.get(name)
        if known is None and closed:
            found.append(Complaint(f".{name}", "field not declared in schema"))
            return found
        if known is not None and known.type == "string" and type(value[name]) is str:
            continue  # Most of what is said, and good.
        below = complaints(shape.child(name), value[name])
        if below:
            found += [Complaint(f".{name}{c.path}", c.message) for c in below]
    return found


def _of_items(shape: Shape, value: list[Any]) -> list[Complaint]:
    found: list[Complaint] = []
    seen: set[str] = set()
    element = ""
    for index, item in enumerate(value):
        if shape.kind in ("items", "set"):
            try:
                element = item_element(shape, item)
            except TypedError as error:
                found.append(Complaint("", f"element {index}: {error}"))
                return found
            if element in seen:
                found.append(Complaint("", f"duplicate entries for key {shown(element)}"))
            seen.add(element)
        below = complaints(shape.item, item)
        if below:
            place = shown(element) if element else f"[{index}]"
            found += [Complaint(place + c.path, c.message) for c in below]
    return found


def _scalar(kind: str, form: str, value: Any) -> str:
    if kind in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected numeric (int or float), got {go_type(value)}"
    elif kind == "boolean":
        if not isinstance(value, bool):
            return f"expected boolean, got {_described(value)}"
    elif kind == "bytes" or (kind == "string" and not form):
        if not isinstance(value, str):
            return f"expected string, got {_described(value, go=True)}"
    elif isinstance(value, dict | list):
        return f"expected any scalar, got {_described(value)}"
    return ""


def _described(value: Any, *, go: bool = False) -> str:
    """A value as Go prints it, wrapped."""
    if go:
        if isinstance(value, bool):
            inner = f"{value}".lower()
        elif isinstance(value, int):
            inner = str(value)
        else:
            inner = _literal(value)
        return f"&value.valueUnstructured{{Value:{inner}}}"
    if isinstance(value, dict):
        inner = "map[" + " ".join(f"{k}:{_plain(v)}" for k, v in sorted(value.items())) + "]"
    else:
        inner = _plain(value)
    return f"&{{{inner}}}"


def _literal(value: Any) -> str:
    """A value in the syntax of Go."""
    if isinstance(value, dict):
        return (
            "map[string]interface {}{" + ", ".join(f"{json.dumps(k)}:{_literal(value[k])}" for k in sorted(value)) + "}"
        )
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(_literal, value)) + "}"
    return "interface {}(nil)" if value is None else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + " ".join(_plain(v) for v in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_plain(v)}" for k, v in sorted(value.items())) + "]"
    return "<nil>" if value is None else str(value)


def check(shape: Shape, config: Any) -> None:
    """Refuse a configuration that doesn't fit. Raises TypedError."""
    found = complaints(shape, config)
    if len(found) == 1:
        raise TypedError(str(found[0]))
    if found:
        raise TypedError("errors:\n" + "\n".join(f"  {c}" for c in found))
