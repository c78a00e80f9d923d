"""Pruning and defaulting of custom objects by their structural schema, as `apiextensions-apiserver` does."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.schema.nodes import Node


def prune(node: Node, value: Any, path: str, unknown: list[str]) -> Any:
    """A copy of the value without fields that the schema does not know; their paths are added to `unknown`.

    Values of another type than the schema's are copied as they are: validation says what is wrong with them.
    """
    if isinstance(value, dict):
        if node.type == "map" and node.values is not None:
            return {k: prune(node.values, v, f"{path}.{k}" if path else k, unknown) for k, v in value.items()}
        if node.type == "object":
            return _prune_object(node, value, path, unknown)
        return copy.deepcopy(value)
    if isinstance(value, list):
        if node.type == "array" and node.items is not None:
            return [prune(node.items, v, f"{path}[{i}]", unknown) for i, v in enumerate(value)]
        return copy.deepcopy(value)
    return value


def _prune_object(node: Node, value: dict[str, Any], path: str, unknown: list[str]) -> dict[str, Any]:
    fields, out = node.fields, {}
    for name, child in fields.items():
        if name in value:
            out[name] = prune(child, value[name], f"{path}.{name}" if path else name, unknown)
    if len(out) == len(value):
        return out
    for name, item in value.items():
        if name not in fields:
            if node.preserve:
                out[name] = copy.deepcopy(item)
            else:
                unknown.append(f"{path}.{name}" if path else name)
    return out


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
            below = node.field(name)
            if below is not None and isinstance(item, dict | list):
                apply_defaults(below, item)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            if isinstance(item, dict | list):
                apply_defaults(node.items, item)
