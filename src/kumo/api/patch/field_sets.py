"""Sets of fields, as server-side apply keeps them: the tries of `FieldsV1` in `managedFields`.

A set is a dictionary from path elements to sets; the key `.` says that the place itself is a member. Elements are
`f:name` for fields and map keys, `k:{"name":"x"}` for items of keyed lists, `v:"x"` for items of sets. In an object's
`managedFields` a member without children is written `{}`. Source: `sigs.k8s.io/structured-merge-diff/fieldpath`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kumo.api.schema.nodes import Node

FieldSet = dict[str, Any]
SELF = "."
_KEY_DEFAULTS = {"protocol": "TCP"}
"""Defaults of fields that keys of built-in lists are made of (the schema of built-in kinds has no defaults)."""


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def item_element(node: Node, item: Any) -> str:
    """The path element of a list's item, for lists of type `map` and `set`."""
    if node.list_type == "set" or not isinstance(item, dict):
        return "v:" + _compact(item)
    key: dict[str, Any] = {}
    for name in node.list_keys:
        if name in item:
            key[name] = item[name]
        else:
            below = node.items.field(name) if node.items else None
            default = below.schema.get("default") if below is not None else None
            default = _KEY_DEFAULTS.get(name) if default is None else default
            if default is not None:
                key[name] = default
    return "k:" + _compact(key)


def granular(node: Node | None, value: Any) -> bool:
    """Whether parts of the value can belong to different managers."""
    if node is None or node.type == "any" or (node.type == "object" and not node.fields and not node.preserve):
        return False
    if isinstance(value, dict):
        return node.type in ("object", "map") and node.map_type != "atomic"
    return isinstance(value, list) and node.type == "array" and node.list_type in ("map", "set")


def fields_of(node: Node | None, value: Any) -> FieldSet:
    """Every field that the value says something about."""
    if not granular(node, value):
        return {SELF: {}}
    assert node is not None
    found: FieldSet = {}
    if isinstance(value, dict):
        for name, child in value.items():
            below = node.field(name)
            part = fields_of(below, child)
            if child is None or child == {} or name not in node.fields:
                part[SELF] = {}
            if part:
                found[f"f:{name}"] = part
    else:
        for item in value:
            part = fields_of(node.items, item)
            part[SELF] = {}
            found[item_element(node, item)] = part
    return found


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of either."""
    found = dict(one)
    for element, part in other.items():
        found[element] = union(found[element], part) if element in found else part
    return found


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of the first that are not members of the second."""
    found: FieldSet = {}
    for element, part in one.items():
        if element == SELF:
            if SELF not in other:
                found[SELF] = {}
            continue
        rest = difference(part, other[element]) if element in other else part
        if rest:
            found[element] = rest
    return found


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of both."""
    found: FieldSet = {}
    for element, part in one.items():
        if element in other:
            if element == SELF:
                found[SELF] = {}
                continue
            both = intersection(part, other[element])
            if both:
                found[element] = both
    return found


def without(one: FieldSet, gone: FieldSet) -> FieldSet:
    """The first without the members of the second and everything below those."""
    found: FieldSet = {}
    for element, part in one.items():
        below = gone.get(element)
        if element == SELF:
            if SELF not in gone:
                found[SELF] = {}
        elif below is None:
            found[element] = part
        elif SELF not in below:
            rest = without(part, below)
            if rest:
                found[element] = rest
    return found


def paths(one: FieldSet, prefix: str = "") -> Iterator[str]:
    """The members as texts: `.spec.containers[name="a"].image`."""
    if SELF in one:
        yield prefix or "."
    for element, part in one.items():
        if element != SELF:
            yield from paths(part, prefix + _shown(element))


def _shown(element: str) -> str:
    kind, text = element[:2], element[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "v:":
        return f"[={text}]"
    pairs = json.loads(text)
    return "[" + ",".join(f"{k}={_compact(v)}" for k, v in pairs.items()) + "]"


def write(one: FieldSet) -> dict[str, Any]:
    """The form in `managedFields[].fieldsV1`."""
    if set(one) == {SELF}:
        return {}
    return {element: {} if element == SELF else write(one[element]) for element in sorted(one)}


def read(written: dict[str, Any]) -> FieldSet:
    """A set out of `managedFields[].fieldsV1`."""
    return {
        element: {} if element == SELF else (read(part) if part else {SELF: {}}) for element, part in written.items()
    }
