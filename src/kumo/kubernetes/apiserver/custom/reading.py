"""Schemas inside of schemas, read as such: what decoding leaves alone because it may be a list or a boolean as well."""

from __future__ import annotations

from typing import Any

from kumo.api.errors import bad_request
from kumo.api.objects import Object
from kumo.api.schema.builtin import builtin_nodes
from kumo.api.schema.decoding import DecodeError, decode
from kumo.api.schema.nodes import Node

_PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_MAPS = ("properties", "patternProperties", "definitions")
_LISTS = ("allOf", "anyOf", "oneOf")


def read_schemas(definition: Object) -> None:
    """Check and prune the schemas of a definition at every depth, in place. Raises 400 for what is no schema."""
    node = builtin_nodes().definition(_PROPS)
    for version in (definition.get("spec") or {}).get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            continue
        try:
            _inside(node, schema)
        except DecodeError as error:
            kind = "CustomResourceDefinition"
            raise bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {error}') from None


def _read(node: Node, value: Any) -> dict[str, Any]:
    found: dict[str, Any] = decode(node, value, [])
    _inside(node, found)
    return found


def _inside(node: Node, schema: dict[str, Any]) -> None:
    for key in _MAPS:
        below = schema.get(key) or {}
        for name, child in below.items():
            if child is None:
                below[name] = {}  # As Go reads it.
            else:
                _inside(node, child)
    for key in _LISTS:
        parts = schema.get(key) or []
        for index, child in enumerate(parts):
            if child is None:
                parts[index] = {}
            else:
                _inside(node, child)
    if schema.get("not") is not None:
        _inside(node, schema["not"])
    items = schema.get("items")
    if isinstance(items, dict):
        schema["items"] = _read(node, items)
    elif isinstance(items, list):
        schema["items"] = [_read(node, item) for item in items]
    elif items is not None:
        del schema["items"]
    for key in ("additionalProperties", "additionalItems"):
        more = schema.get(key)
        if isinstance(more, dict):
            schema[key] = _read(node, more)
        elif more is not None and not isinstance(more, bool):
            raise DecodeError("boolean or JSON schema expected")
    for name, part in (schema.get("dependencies") or {}).items():
        if isinstance(part, dict):
            schema["dependencies"][name] = _read(node, part)
