"""JSON Patch (RFC 6902), content type `application/json-patch+json`, as Kubernetes' library reads it.

What the RFC leaves open, or that library sees more loosely, is as there: a `replace`, `move` or `copy` of a key that an
object has not is taken for null, negative indices count from the end, a missing `value` is null.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kumo.api.errors import StatusError, bad_request, too_large
from kumo.api.objects import Object

MAX_OPERATIONS = 10_000
OPERATIONS = frozenset(("add", "remove", "replace", "move", "copy", "test"))
FIELDS = frozenset(("op", "path", "from", "value"))
_copy = msgspec.to_builtins
"""A deep copy of a JSON value."""


class _Misfit(Exception):
    """An operation that can't be done."""


def apply_json_patch(obj: Object, operations: Any) -> Any:
    """A new value with the operations done. `operations` is the decoded patch.

    Raises StatusError: 400 for what is no patch, 413 for more than 10,000 operations, 422 Invalid for a test that fails
    or a path that is not there.
    """
    if operations is None:
        return _copy(obj)
    if not isinstance(operations, list):
        raise _unreadable(operations, "[]handlers.jsonPatchOp")
    for operation in operations:
        if operation is not None and not isinstance(operation, dict):
            raise _unreadable(operation, "handlers.jsonPatchOp")
    if len(operations) > MAX_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise too_large(f"Request entity too large: {text}")
    result: Any = _copy(obj)
    try:
        for operation in operations:
            result = _apply_one(result, operation or {})
    except _Misfit:
        # Upstream tells no more: the reason is only in its log.
        text = "the server rejected our request due to an error in our request"
        raise StatusError(422, "Invalid", text, {}) from None
    return result


def unknown_fields(operations: Any) -> list[str]:
    """The paths of fields that no operation has (`[0].frob`)."""
    found: list[str] = []
    for index, operation in enumerate(operations if isinstance(operations, list) else ()):
        if isinstance(operation, dict):
            found += [f"[{index}].{name}" for name in operation if name not in FIELDS]
    return found


def _unreadable(value: Any, wanted: str) -> StatusError:
    return bad_request(
        f"error decoding patch: json: cannot unmarshal {json_kind(value)} into Go value of type {wanted}"
    )


def json_kind(value: Any) -> str:
    """What Go's decoder calls a JSON value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _apply_one(doc: Any, operation: dict[str, Any]) -> Any:
    kind = operation.get("op")
    path = operation.get("path")
    if kind not in OPERATIONS or not isinstance(path, str):
        raise _Misfit
    if kind == "add":
        _add(doc, path, operation.get("value"))
    elif kind == "remove":
        _remove(doc, path)
    elif kind == "replace":
        return _replace(doc, path, operation.get("value"))
    elif kind == "move":
        value = _get(doc, _source(operation))
        _remove(doc, _source(operation))
        _add(doc, path, value)
    elif kind == "copy":
        _add(doc, path, _copy(_get(doc, _source(operation))))
    elif not _same(_get(doc, path) if path else doc, operation.get("value")):
        raise _Misfit
    return doc


def _source(operation: dict[str, Any]) -> str:
    source = operation.get("from")
    if not isinstance(source, str):
        raise _Misfit
    return source


def _same(one: Any, other: Any) -> bool:
    """JSON equality: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(v, other[k]) for k, v in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _parent(doc: Any, path: str) -> tuple[Any, str]:
    """The container that the path's last step is in, and that step."""
    if not path.startswith("/"):
        raise _Misfit
    *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
    for step in steps:
        doc = _child(doc, step)
        if not isinstance(doc, dict | list):
            raise _Misfit
    return doc, last


def _index(items: list[Any], step: str, *, most: int) -> int:
    try:
        index = int(step)
    except ValueError:
        raise _Misfit from None
    if index < 0:
        index += len(items)
    if not 0 <= index <= most:
        raise _Misfit
    return index


def _child(container: Any, step: str) -> Any:
    if isinstance(container, list):
        return container[_index(container, step, most=len(container) - 1)]
    return container.get(step)


def _get(doc: Any, path: str) -> Any:
    container, step = _parent(doc, path)
    return _child(container, step)


def _add(doc: Any, path: str, value: Any) -> None:
    container, step = _parent(doc, path)
    if isinstance(container, dict):
        container[step] = value
    elif step == "-":
        container.append(value)
    else:
        # Negative places count from the end of the longer list.
        index = int(step) if step.lstrip("-").isdecimal() else len(container) + 1
        index += len(container) + 1 if index < 0 else 0
        if not 0 <= index <= len(container):
            raise _Misfit
        container.insert(index, value)


def _remove(doc: Any, path: str) -> None:
    container, step = _parent(doc, path)
    if isinstance(container, list):
        del container[_index(container, step, most=len(container) - 1)]
    elif step not in container:
        raise _Misfit
    else:
        del container[step]


def _replace(doc: Any, path: str, value: Any) -> Any:
    if not path:
        if not isinstance(value, dict | list):
            raise _Misfit
        return value
    container, step = _parent(doc, path)
    if isinstance(container, list):
        container[_index(container, step, most=len(container) - 1)] = value
    else:
        container[step] = value
    return doc
