"""Nodes of custom kinds, made from the structural schema in a CustomResourceDefinition (`openAPIV3Schema`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.schema.builtin import object_meta
from kumo.api.schema.nodes import Fields, Node

_FIRST = {"apiVersion": 0, "kind": 1, "metadata": 2}
_STRING: dict[str, Any] = {"type": "string"}


def structural_node(schema: Mapping[str, Any]) -> Node:
    """The node of a (sub)schema."""
    kind: Any = schema.get("type") or ""
    if schema.get("x-kubernetes-int-or-string"):
        return Node("int-or-string", schema)
    if kind == "array":
        items = schema.get("items")
        return Node("array", schema, items=structural_node(items if isinstance(items, dict) else {}))
    if kind in ("string", "integer", "number", "boolean"):
        return Node(kind, schema)
    more = schema.get("additionalProperties")
    if more is not None and not schema.get("properties"):
        if more is False:
            return Node("object", schema)
        return Node("map", schema, values=structural_node(more if isinstance(more, dict) else {}))
    if kind == "object" or "properties" in schema or schema.get("x-kubernetes-embedded-resource"):
        return Node("object", schema, fields=lambda: _fields(schema))
    return Node("any", schema)


def root_node(schema: Mapping[str, Any], *, preserve: bool = False) -> Node:
    """The node of whole objects: the schema with apiVersion, kind and metadata; `preserve` keeps unknown fields."""
    root = Node("object", schema, fields=lambda: _root_fields(schema))
    root.preserve = root.preserve or preserve
    return root


def _ordered(fields: dict[str, Node]) -> Fields:
    return {key: fields[key] for key in sorted(fields, key=lambda k: (_FIRST.get(k, 3), k))}


def _fields(schema: Mapping[str, Any]) -> Fields:
    found = {key: structural_node(child) for key, child in (schema.get("properties") or {}).items()}
    if schema.get("x-kubernetes-embedded-resource"):
        found |= _typed()
    return _ordered(found)


def _typed() -> dict[str, Node]:
    return {"apiVersion": Node("string", _STRING), "kind": Node("string", _STRING), "metadata": object_meta()}


def _root_fields(schema: Mapping[str, Any]) -> Fields:
    found = {key: structural_node(child) for key, child in (schema.get("properties") or {}).items()}
    return _ordered({**found, **_typed()})
