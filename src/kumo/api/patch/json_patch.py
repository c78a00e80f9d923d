"""JSON Patch (RFC 6902), content type `application/json-patch+json`."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer

from kumo.api.errors import StatusError, bad_request, unprocessable
from kumo.api.objects import Object

MAX_OPERATIONS = 10_000


def apply_json_patch(obj: Object, operations: Any) -> Object:
    """A new object with the operations done. `operations` is the decoded patch.

    Raises StatusError: 400 for what is no patch, 413 for more than 10,000 operations, 422 Invalid for a test that fails
    or a path that is not there, as upstream.
    """
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > MAX_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}",
        )
    result = copy.deepcopy(obj)
    for operation in operations:
        result = _apply_one(result, operation)
    return result


def _apply_one(obj: Any, operation: Any) -> Any:
    kind = operation.get("op") if isinstance(operation, dict) else None
    path = operation.get("path") if isinstance(operation, dict) else None
    if kind not in ("add", "remove", "replace", "move", "copy", "test") or not isinstance(path, str):
        raise unprocessable()
    if kind in ("add", "replace", "test") and "value" not in operation:
        operation = {**operation, "value": None}
    try:
        return jsonpatch.JsonPatch([operation]).apply(obj, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, KeyError, TypeError):
        raise unprocessable() from None
