"""JSON Patch (RFC 6902) as webhooks and policies send it: applied to an object, failures in upstream's words.

Apart from `kumo.api.patch.json_patch`, whose refusals are those of a PATCH request.
"""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.objects import Object

_MISSING, _INDEX = "missing value", "invalid index referenced"
MAX_OPERATIONS = 10_000


class PatchFailed(Exception):
    """The patch does not apply; the message is upstream's (evanphx/json-patch)."""


def apply(obj: Object, operations: list[Any]) -> Object:
    """A new object with the operations done. Raises PatchFailed."""
    if len(operations) > MAX_OPERATIONS:
        raise PatchFailed(f"a patch may have at most {MAX_OPERATIONS} operations")
    result: Any = copy.deepcopy(obj)
    for operation in operations:
        if not isinstance(operation, dict):
            raise PatchFailed("json: cannot unmarshal into Go value of type jsonpatch.Operation")
        result = _apply(result, operation)
    if not isinstance(result, dict):
        raise PatchFailed("the patch leaves no object")
    return result


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    kind = operation.get("op")
    if kind not in ("add", "remove", "replace", "move", "copy", "test"):
        raise PatchFailed(f"Unexpected kind: {kind if isinstance(kind, str) else 'unknown'}")
    path = operation.get("path")
    if not isinstance(path, str):
        raise PatchFailed(f"{kind} operation failed to decode path: {_MISSING}")
    if kind == "remove":
        _remove(document, path, "remove")
    elif kind == "add":
        return _add(document, path, copy.deepcopy(operation.get("value")), "add")
    elif kind == "replace":
        return _replace(document, path, copy.deepcopy(operation.get("value")))
    elif kind == "test":
        _test(document, path, operation.get("value"))
    else:
        return _transfer(document, operation, kind, path)
    return document


def _steps(path: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def _parent(document: Any, path: str) -> tuple[Any, str] | None:
    """The container that the path's last step is in, or None when there is none."""
    steps = _steps(path)
    if not steps:
        return None
    for step in steps[:-1]:
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list):
            index = _index(step, len(document))
            document = document[index] if index is not None else None
        if not isinstance(document, dict | list):
            return None
    return document, steps[-1]


def _index(step: str, length: int) -> int | None:
    try:
        found = int(step)
    except ValueError:
        return None
    return found if 0 <= found < length else None


def _add(document: Any, path: str, value: Any, kind: str) -> Any:
    if path == "":
        return value
    place = _parent(document, path)
    if place is None:
        if kind == "add":
            raise PatchFailed(f'add operation does not apply: doc is missing path: "{path}": {_MISSING}')
        raise PatchFailed(f"{kind} operation does not apply: doc is missing destination path: {path}: {_MISSING}")
    container, step = place
    if isinstance(container, dict):
        container[step] = value
        return document
    if step == "-":
        container.append(value)
        return document
    try:
        number = int(step)
    except ValueError:
        why = f"value was not a proper array index: '{step}': strconv.Atoi: parsing \"{step}\": invalid syntax"
        raise PatchFailed(f"error in {kind} for path: '{path}': {why}") from None
    if number > len(container) or number < 0:
        raise PatchFailed(f"error in {kind} for path: '{path}': Unable to access invalid index: {number}: {_INDEX}")
    container.insert(number, value)
    return document


def _remove(document: Any, path: str, kind: str) -> Any:
    place = _parent(document, path)
    if place is None:
        from_ = "from " if kind == "move" else ""
        shown = path if from_ else f'"{path}"'
        raise PatchFailed(f"{kind} operation does not apply: doc is missing {from_}path: {shown}: {_MISSING}")
    container, step = place
    if isinstance(container, dict):
        if step not in container:
            raise PatchFailed(
                f"error in {kind} for path: '{path}': Unable to remove nonexistent key: {step}: {_MISSING}"
            )
        return container.pop(step)
    index = _index(step, len(container))
    if index is None:
        raise PatchFailed(f"error in {kind} for path: '{path}': Unable to access invalid index: {step}: {_INDEX}")
    return container.pop(index)


def _get(document: Any, path: str) -> tuple[bool, Any]:
    if path == "":
        return True, document
    place = _parent(document, path)
    if place is None:
        return False, None
    container, step = place
    if isinstance(container, dict):
        return step in container, container.get(step)
    index = _index(step, len(container))
    return index is not None, container[index] if index is not None else None


def _replace(document: Any, path: str, value: Any) -> Any:
    if path == "":
        if not isinstance(value, dict | list):
            raise PatchFailed("replace operation value must be object or array")
        return value
    place = _parent(document, path)
    if place is None:
        raise PatchFailed(f"replace operation does not apply: doc is missing path: {path}: {_MISSING}")
    if not _get(document, path)[0]:
        raise PatchFailed(f"replace operation does not apply: doc is missing key: {path}: {_MISSING}")
    container, step = place
    container[step if isinstance(container, dict) else int(step)] = value
    return document


def _test(document: Any, path: str, wanted: Any) -> None:
    if path and _parent(document, path) is None:
        raise PatchFailed(f"test operation does not apply: is missing path: {path}: {_MISSING}")
    if not _same(_get(document, path)[1], wanted):
        raise PatchFailed(f"testing value {path} failed: test failed")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other)


def _transfer(document: Any, operation: dict[str, Any], kind: str, path: str) -> Any:
    source = operation.get("from")
    if not isinstance(source, str):
        raise PatchFailed(f"{kind} operation failed to decode from: operation, missing from field: {_MISSING}")
    if kind == "move":
        return _add(document, path, _remove(document, source, "move"), "move")
    found, value = _get(document, source)
    if not found:
        raise PatchFailed(f"copy operation does not apply: doc is missing from path: {source}: {_MISSING}")
    return _add(document, path, copy.deepcopy(value), "copy")
