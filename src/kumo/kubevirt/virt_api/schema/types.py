"""The little language in which the schemas are written: OpenAPI v3 nodes as plain dictionaries."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer"}
INT32: Schema = {"type": "integer", "format": "int32"}
INT64: Schema = {"type": "integer", "format": "int64"}
UINT32: Schema = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 4294967295}
TIME: Schema = {"type": "string", "format": "date-time"}
NULLABLE_TIME: Schema = {"type": "string", "format": "date-time", "nullable": True}
EMPTY: Schema = {"type": "object"}
ANYTHING: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
INT_OR_STRING: Schema = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
QUANTITY: Schema = {**INT_OR_STRING, "pattern": QUANTITY_PATTERN}
ENABLED: Schema = {"type": "object", "properties": {"enabled": BOOLEAN}}
"""A feature's state: on unless `enabled` says no."""


def record(required: str = "", /, **properties: Schema) -> Schema:
    """An object with these properties; `required` lists names, separated by blanks."""
    made: Schema = {"type": "object"}
    if properties:  # An API server drops empty ones: a start would find its definition changed, and write it again.
        made["properties"] = properties
    if required:
        made["required"] = required.split()
    return made


def items(of: Schema, **more: Any) -> Schema:
    """An array of such items."""
    return {"type": "array", "items": of, **more}


def atomic(of: Schema) -> Schema:
    """An array that server-side apply treats as one value."""
    return items(of, **{"x-kubernetes-list-type": "atomic"})


def keyed(of: Schema, *keys: str, **more: Any) -> Schema:
    """An array whose items are told apart by the given fields."""
    return items(of, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}, **more)


def mapping(of: Schema) -> Schema:
    """An object with any keys and such values."""
    return {"type": "object", "additionalProperties": of}


def choice(*values: str) -> Schema:
    """One of these strings."""
    return {"type": "string", "enum": list(values)}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {**schema, "nullable": True}


def said(text: str, schema: Schema) -> Schema:
    """The same with a description, for `kubectl explain`."""
    return {**schema, "description": text}
