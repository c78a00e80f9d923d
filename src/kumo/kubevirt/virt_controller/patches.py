"""Patches that must not undo somebody else's work: they test what they change, and a failed test is a conflict."""

from __future__ import annotations

from typing import Any

from kumo.api.errors import StatusError, conflict, is_not_found
from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import GVR
from kumo.machinery.client import JSON_PATCH, Client


async def tested_patch(client: Client, gvr: GVR, obj: Object, operations: list[dict[str, Any]]) -> None:
    """Apply the operations; nothing happens if the object is gone.

    Raises StatusError 409 Conflict when a test fails: an API server says 422 then, as for any patch that cannot be
    applied (https://github.com/kubernetes/kubernetes/issues/68202).
    """
    try:
        await client.patch(gvr, name_of(obj), operations, namespace_of(obj), kind=JSON_PATCH)
    except StatusError as error:
        if is_not_found(error):
            return
        if error.code == 422:
            raise conflict(gvr.group, gvr.resource, name_of(obj), f"it has changed meanwhile: {error}") from error
        raise


async def set_finalizers(client: Client, gvr: GVR, obj: Object, wanted: list[str]) -> None:
    """Replace the finalizers, if they still are what they are in `obj`. Raises StatusError 409 Conflict if not."""
    operations = [
        {"op": "test", "path": "/metadata/finalizers", "value": obj["metadata"].get("finalizers")},
        {"op": "replace", "path": "/metadata/finalizers", "value": wanted},
    ]
    await tested_patch(client, gvr, obj, operations)
