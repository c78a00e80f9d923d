"""Glance's JSON patch: one level deep, on an image's fields and properties. Pure.

Source: `application/openstack-images-v2.1-json-patch` of Glance's API reference.
"""

from __future__ import annotations

from typing import Any

from kumo.openstack.common.errors import ApiError
from kumo.openstack.glance.views import READ_ONLY, RESERVED, WRITABLE


def patched(fields: dict[str, Any], operations: Any) -> dict[str, Any]:
    """The fields after the operations. Raises ApiError 400, 403 or 409."""
    if not isinstance(operations, list):
        raise ApiError(400, "Request body must be a JSON array of operation objects.")
    made = dict(fields)
    for operation in operations:
        if not isinstance(operation, dict):
            raise ApiError(400, "Operations must be JSON objects.")
        _apply(made, operation)
    return made


def _apply(made: dict[str, Any], operation: dict[str, Any]) -> None:
    kind = operation.get("op", "")
    if kind not in ("add", "replace", "remove"):
        raise ApiError(400, f"Operations must be among add, replace and remove, not {kind!r}.")
    name = _name(operation.get("path"))
    if name in READ_ONLY or name == "id":
        raise ApiError(403, f"Attribute '{name}' is read-only.")
    if name in RESERVED or name == "owner":
        raise ApiError(403, f"Attribute '{name}' is reserved.")
    if kind == "remove":
        if name in WRITABLE:
            raise ApiError(403, f"Property {name} may not be removed.")
        if name not in made:
            raise ApiError(409, f"Property {name} does not exist.")
        del made[name]
        return
    if "value" not in operation:
        raise ApiError(400, f"Operation {kind!r} requires a member named 'value'.")
    if kind == "replace" and name not in made:
        raise ApiError(409, f"Property {name} does not exist.")
    made[name] = operation["value"]


def _name(path: Any) -> str:
    if not isinstance(path, str) or not path.startswith("/") or len(path) < 2:
        raise ApiError(400, f'Pointer `{path}` does not start with "/".')
    if "/" in path[1:]:
        raise ApiError(400, f"Pointer `{path}` goes deeper than one level.")
    return path[1:].replace("~1", "/").replace("~0", "~")
