"""Whether what somebody applies fits the schema at all: structured-merge-diff's own check, with its words.

Source: `sigs.k8s.io/structured-merge-diff/typed/validate.go`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from kumo.api.patch.field_sets import shown
from kumo.api.patch.shapes import Shape
from kumo.api.patch.typed import TypedError, item_element


class Complaint(NamedTuple):
    """What is wrong at a place (`.spec.replicas`)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def complaints(shape: Shape, value: Any, path: str = "") -> Iterator[Complaint]:
    """What doesn't fit: unknown fields, wrong types, items that are there twice or lack their keys."""
    node = shape.node
    if value is None:
        return
    kind = "deduced" if node is None else node.type
    if kind in ("any", "deduced", "int-or-string"):
        return
    if kind in ("object", "map"):
        if not isinstance(value, dict):
            yield Complaint(path, f"expected map, got {_described(value)}")
            return
        yield from _of_fields(shape, value, path)
    elif kind == "array":
        if not isinstance(value, list):
            yield Complaint(path, f"expected list, got {_described(value)}")
            return
        yield from _of_items(shape, value, path)
    else:
        message = _scalar(kind, getattr(node, "format", ""), value)
        if message:
            yield Complaint(path, message)


def _of_fields(shape: Shape, value: dict[str, Any], path: str) -> Iterator[Complaint]:
    node = shape.node
    assert node is not None
    fields = node.fields
    closed = bool(fields) and node.values is None and not node.preserve
    for name in sorted(value):
        child, known = value[name], fields.get(name)
        if known is None and closed:
            yield Complaint(f"{path}.{name}", "field not declared in schema")
            return
        yield from complaints(shape.child(name), child, f"{path}.{name}")


def _of_items(shape: Shape, value: list[Any], path: str) -> Iterator[Complaint]:
    seen: set[str] = set()
    for index, item in enumerate(value):
        place = f"[{index}]"
        if shape.kind in ("items", "set"):
            try:
                element = item_element(shape, item)
            except TypedError as error:
                yield Complaint(path, f"element {index}: {error}")
                return
            place = shown(element)
            if element in seen:
                yield Complaint(path, f"duplicate entries for key {place}")
            seen.add(element)
        yield from complaints(shape.item, item, path + place)


def _scalar(kind: str, form: str, value: Any) -> str:
    if kind in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected numeric (int or float), got {_go_type(value)}"
    elif kind == "boolean":
        if not isinstance(value, bool):
            return f"expected boolean, got {_described(value)}"
    elif kind == "bytes" or (kind == "string" and not form):
        if not isinstance(value, str):
            return f"expected string, got {_described(value, go=True)}"
    elif isinstance(value, dict | list):
        return f"expected any scalar, got {_described(value)}"
    return ""


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "map[string]interface {}" if isinstance(value, dict) else "[]interface {}"


def _described(value: Any, *, go: bool = False) -> str:
    """A value as Go prints it, wrapped."""
    if go:
        if isinstance(value, bool):
            inner = f"{value}".lower()
        elif isinstance(value, int):
            inner = str(value)
        else:
            inner = json.dumps(value)
        return f"&value.valueUnstructured{{Value:{inner}}}"
    if isinstance(value, dict):
        inner = "map[" + " ".join(f"{k}:{_plain(v)}" for k, v in sorted(value.items())) + "]"
    else:
        inner = _plain(value)
    return f"&{{{inner}}}"


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
    found = list(complaints(shape, config))
    if len(found) == 1:
        raise TypedError(str(found[0]))
    if found:
        raise TypedError("errors:\n" + "\n".join(f"  {c}" for c in found))
