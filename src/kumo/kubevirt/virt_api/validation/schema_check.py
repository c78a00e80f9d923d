"""The first look of the webhooks: whether an object has the types and the required fields of its schema.

The messages are those of go-openapi, which upstream's webhooks use; the API server's own check of a custom resource
comes later and speaks differently. Array indexes do not appear in the paths, as upstream.
"""

from __future__ import annotations

import json
from typing import Any

from kumo.api.errors import Cause

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


def check_schema(schema: dict[str, Any], obj: dict[str, Any]) -> list[Cause]:
    """What is wrong with the object's spec; causes without a field, as upstream's."""
    problems: list[str] = []
    for part in ("spec",):
        if part in obj:
            _check(schema["properties"][part], obj[part], part, problems)
        elif part in schema.get("required", ()):
            problems.append(f"{part} in body is required")
    return [Cause("", problem, "") for problem in problems]


def _check(schema: dict[str, Any], value: Any, path: str, problems: list[str]) -> None:
    if value is None or schema.get("x-kubernetes-int-or-string"):
        return
    kind = schema.get("type")
    if not _is(kind, value):
        problems.append(f"{path} in body must be of type {kind}: {json.dumps(_type_name(value))}")
        return
    if kind == "object":
        _check_object(schema, value, path, problems)
    elif kind == "array":
        for item in value:
            _check(schema["items"], item, path, problems)
    elif schema.get("enum") and value not in schema["enum"]:
        problems.append(f"{path} in body should be one of [{' '.join(schema['enum'])}]")


def _check_object(schema: dict[str, Any], value: dict[str, Any], path: str, problems: list[str]) -> None:
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for name, item in value.items():
        if name in properties:
            _check(properties[name], item, f"{path}.{name}", problems)
        elif isinstance(extra, dict):
            _check(extra, item, f"{path}.{name}", problems)
    for name in schema.get("required", ()):
        if value.get(name) is None:
            problems.append(f"{path}.{name} in body is required")


def _is(kind: str | None, value: Any) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return kind is None or isinstance(value, _TYPES.get(kind, object))


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return next((name for name, kind in _TYPES.items() if isinstance(value, kind)), "number")
