"""Pruning and defaulting of custom objects by their structural schema, as `apiextensions-apiserver` does."""

from __future__ import annotations

import copy
import json
from typing import Any

from kumo.api.schema.builtin import object_meta
from kumo.api.schema.decoding import DecodeError, decode
from kumo.api.schema.nodes import Node

_WHOLE_LIMIT = 1e21
_CONTAINERS = (dict, list)


_NO_OBJECTS = frozenset(("array", "string", "integer", "number", "boolean"))
"""What an object stands in the place of has no fields: all of its are unknown, before anybody says that it is wrong."""


def prune(node: Node, value: Any, path: str, unknown: list[str], embedded: list[str] | None = None) -> Any:
    """A copy of the value without fields that the schema does not know; their paths are added to `unknown`.

    Values of another type than the schema's are copied as they are: validation says what is wrong with them. With a
    list for `embedded`, type and metadata of embedded objects are read as such: paths of what is unknown in their
    metadata are added to it, and DecodeError is raised for what can't be read.
    """
    if isinstance(value, dict):
        if node.type == "map" and node.values is not None:
            below = node.values
            return {k: prune(below, v, f"{path}.{k}" if path else k, unknown, embedded) for k, v in value.items()}
        if node.type == "object":
            return _prune_object(node, value, path, unknown, embedded)
        if node.type in _NO_OBJECTS and not node.preserve:
            unknown += [f"{path}.{key}" if path else key for key in value]
            return {}
        return copy.deepcopy(value)
    if isinstance(value, list):
        if node.type == "array" and node.items is not None:
            if node.preserve:
                return [_prune_known(node.items, v, f"{path}[{i}]", unknown, embedded) for i, v in enumerate(value)]
            return [prune(node.items, v, f"{path}[{i}]", unknown, embedded) for i, v in enumerate(value)]
        return copy.deepcopy(value)
    if type(value) is float and value.is_integer() and abs(value) < _WHOLE_LIMIT:
        return int(value)  # As Go writes it.
    return value


def _prune_known(node: Node, value: Any, path: str, unknown: list[str], embedded: list[str] | None) -> Any:
    """A copy of an item of a list that keeps what is unknown: of an object, only what is known is pruned further."""
    if not isinstance(value, dict) or node.type != "object":
        return prune(node, value, path, unknown, embedded)
    return {
        key: prune(node.fields[key], item, f"{path}.{key}", unknown, embedded)
        if key in node.fields
        else copy.deepcopy(item)
        for key, item in value.items()
    }


def _prune_object(
    node: Node, value: dict[str, Any], path: str, unknown: list[str], embedded: list[str] | None
) -> dict[str, Any]:
    fields, out = node.fields, {}
    for name, child in fields.items():
        if name in value:
            below = f"{path}.{name}" if path else name
            if node.embedded and embedded is not None and name in ("apiVersion", "kind", "metadata"):
                out[name] = _head(child, name, value[name], below, embedded)
            else:
                out[name] = prune(child, value[name], below, unknown, embedded)
    if len(out) == len(value):
        return out
    for name, item in value.items():
        if name not in fields:
            if node.preserve:
                out[name] = copy.deepcopy(item)
            else:
                unknown.append(f"{path}.{name}" if path else name)
    return out


def _head(node: Node, name: str, value: Any, path: str, unknown: list[str]) -> Any:
    """apiVersion, kind or metadata of an embedded object. Raises DecodeError."""
    if name != "metadata":
        if not isinstance(value, str):
            raise DecodeError(f"{path}: Invalid value: {json.dumps(value)}: must be a string")
        return value
    if value is None:
        return None
    shown = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if not isinstance(value, dict):
        kind = {str: "string", bool: "bool", list: "array"}.get(type(value), "number")
        why = f"json: cannot unmarshal {kind} into Go value of type v1.ObjectMeta"
        raise DecodeError(f"{path}: Invalid value: {shown}: {why}")
    below: list[str] = []
    try:
        found = decode(object_meta(), value, below)
    except DecodeError as error:
        raise DecodeError(f"{path}: Invalid value: {shown}: {error}") from None
    unknown += [f"{path}.{field}" for field in below]
    return found


def has_misplaced_null(node: Node, value: Any) -> bool:
    """Whether there is a null where none may be and no default takes its place."""
    if isinstance(value, dict):
        for name, item in value.items():
            below = node.field(name)
            if below is None:
                continue
            if item is None:
                if below.type != "any" and not below.nullable and below.schema.get("default") is None:
                    return True
            elif isinstance(item, dict | list) and has_misplaced_null(below, item):
                return True
    elif isinstance(value, list) and node.items is not None:
        return any(isinstance(item, dict | list) and has_misplaced_null(node.items, item) for item in value)
    return False


def apply_defaults(node: Node, value: Any) -> None:
    """Set the schema's defaults where nothing is, and drop nulls where none may be; in place."""
    if isinstance(value, dict):
        for name, child in node.fields.items():
            missing = name not in value or (value[name] is None and not child.nullable)
            if missing and child.schema.get("default") is not None:
                value[name] = copy.deepcopy(child.schema["default"])
            elif name in value and missing and child.type != "any":
                del value[name]
        for name, item in value.items():
            if isinstance(item, _CONTAINERS) and (below := node.field(name)) is not None:
                apply_defaults(below, item)
        if node.values is not None and not node.values.nullable and None in value.values():
            for name in [k for k, v in value.items() if v is None and k not in node.fields]:
                del value[name]
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            if isinstance(item, _CONTAINERS):
                apply_defaults(node.items, item)
