"""Whether a custom kind's schema is structural, so that pruning and defaulting are well defined."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause

_TYPES = ("array", "boolean", "integer", "number", "object", "string")


def validate_structural(path: str, schema: dict[str, Any]) -> list[Cause]:
    """What is wrong with the schema of a version: it must be an object, and every part must say its type."""
    kind = schema.get("type")
    found: list[Cause] = []
    if not kind:
        found.append(fields.required(f"{path}.type", "must not be empty at the root"))
    elif kind != "object":
        found.append(fields.invalid(f"{path}.type", kind, "must be object at the root"))
    return found + _inside(path, schema)


def _inside(path: str, schema: dict[str, Any]) -> list[Cause]:
    found = _lists(path, schema)
    for name, child in (schema.get("properties") or {}).items():
        found += _part(f"{path}.properties[{name}]", child, "must not be empty for specified object fields")
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        if schema.get("properties"):
            detail = "additionalProperties and properties are mutual exclusive"
            found.append(fields.forbidden(f"{path}.additionalProperties", detail))
        found += _part(f"{path}.additionalProperties", more, "must not be empty for specified object fields")
    items = schema.get("items")
    if isinstance(items, dict):
        found += _part(f"{path}.items", items, "must not be empty for specified array items")
    elif schema.get("type") == "array":
        found.append(fields.required(f"{path}.items", "must be specified"))
    return found


def _part(path: str, schema: dict[str, Any], detail: str) -> list[Cause]:
    found: list[Cause] = []
    kind = schema.get("type")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not kind and not free:
        found.append(fields.required(f"{path}.type", detail))
    elif kind and kind not in _TYPES:
        found.append(fields.unsupported(f"{path}.type", kind, _TYPES))
    if schema.get("$ref"):
        found.append(fields.forbidden(f"{path}.$ref", "$ref is not supported"))
    if schema.get("uniqueItems"):
        found.append(
            fields.forbidden(
                f"{path}.uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            )
        )
    return found + _inside(path, schema)


def _lists(path: str, schema: dict[str, Any]) -> list[Cause]:
    kind = schema.get("x-kubernetes-list-type")
    if kind is None:
        return []
    if kind not in ("atomic", "map", "set"):
        return [fields.unsupported(f"{path}.x-kubernetes-list-type", kind, ("atomic", "map", "set"))]
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if kind == "map" and not keys:
        detail = "must not be empty if x-kubernetes-list-type is map"
        return [fields.required(f"{path}.x-kubernetes-list-map-keys", detail)]
    if kind != "map" and keys:
        detail = "must be empty if x-kubernetes-list-type is not map"
        return [fields.invalid(f"{path}.x-kubernetes-list-map-keys", keys, detail)]
    return []
