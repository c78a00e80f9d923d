"""Strategic merge patch, content type `application/strategic-merge-patch+json`: a merge patch that knows the schema.

Lists with a merge key are merged item by item. Directives: `$patch: replace|delete|merge`, `$retainKeys`,
`$deleteFromPrimitiveList/x`, `$setElementOrder/x`. Rules: `k8s.io/apimachinery/pkg/util/strategicpatch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kumo.api.errors import StatusError, bad_request
from kumo.api.go_text import go_type, go_value
from kumo.api.objects import Object
from kumo.api.schema.nodes import Node

DIRECTIVE = "$patch"
RETAIN = "$retainKeys"
DELETE_FROM = "$deleteFromPrimitiveList/"
ORDER = "$setElementOrder/"


def apply_strategic_patch(obj: Object, patch: Any, root: Node) -> Object:
    """A new object with the patch merged in, by the schema's `root` node; unchanged parts are shared.

    Raises StatusError: 400 for a patch in the wrong form, 500 for an item without its merge key (as upstream).
    """
    if not isinstance(patch, dict):
        raise bad_request("cannot restore struct from: " + type(patch).__name__)
    return _merge_map(obj, patch, root)


def _merge_map(original: dict[str, Any], patch: dict[str, Any], node: Node | None) -> dict[str, Any]:
    if DIRECTIVE in patch:
        if patch[DIRECTIVE] != "merge":
            return _directed(patch)
        patch = {k: v for k, v in patch.items() if k != DIRECTIVE}
    result = _retained(original, patch)
    plain = {k: v for k, v in patch.items() if not k.startswith("$")}
    for key, value in patch.items():
        if key.startswith(DELETE_FROM):
            _delete_from(result, key.removeprefix(DELETE_FROM), value)
    for key, order in patch.items():
        if key.startswith(ORDER):
            _merge_ordered(result, plain, key.removeprefix(ORDER), order, node)
    for key, value in plain.items():
        if value is None:
            result.pop(key, None)
        elif key in result:
            result[key] = _merge(result[key], value, node.field(key) if node else None)
        else:
            result[key] = _clean(value, node.field(key) if node else None)
    return result


def _directed(patch: dict[str, Any]) -> dict[str, Any]:
    kind = patch[DIRECTIVE]
    if kind == "replace":
        return {k: _without_nulls(v) for k, v in patch.items() if k != DIRECTIVE}
    if kind == "delete":
        return {}
    if not isinstance(kind, str):
        # Upstream's 500 for these is a slip of its own; they are the client's fault.
        raise bad_request(f"unknown patch type: {go_value(kind)} in map: {go_value(patch)}")
    raise _failed(f"unknown patch type: {kind} in map: {go_value(patch)}")


def _failed(message: str) -> StatusError:
    """500 without a reason: what upstream answers to an error that it has no words for."""
    return StatusError(500, "", message)


def _retained(original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    if RETAIN not in patch:
        return dict(original)
    keep = patch[RETAIN]
    if not isinstance(keep, list):
        raise bad_request("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith("$") and key not in keep:
            raise bad_request("invalid patch format of retainKeys")
    return {k: v for k, v in original.items() if k in keep}


def _merge(original: Any, value: Any, node: Node | None) -> Any:
    if isinstance(value, dict) and isinstance(original, dict):
        if node is not None and "replace" in node.strategies:
            return _clean(value, node)
        return _merge_map(original, value, node)
    if isinstance(value, list) and isinstance(original, list) and node is not None and "merge" in node.strategies:
        return _merge_list(original, value, node)
    return _clean(value, node)


def _clean(value: Any, node: Node | None) -> Any:
    """A value that meets nothing in the original: directives done, nulls gone."""
    if isinstance(value, dict):
        # Upstream merges a map that says so into nothing, which leaves nothing.
        if value.get(DIRECTIVE) == "merge":
            return {}
        # A directive of null is a null like others here.
        return _merge_map({}, {k: v for k, v in value.items() if k != DIRECTIVE or v is not None}, node)
    if isinstance(value, list):
        if node is not None and "merge" in node.strategies:
            kept = [v for v in value if not (isinstance(v, dict) and DIRECTIVE in v)]
            return [_clean(v, node.items) for v in kept]
        return [_without_nulls(v) for v in value]
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _delete_from(result: dict[str, Any], key: str, gone: Any) -> None:
    if not isinstance(gone, list):
        return
    if any(isinstance(g, dict | list) for g in gone):
        raise bad_request("invalid patch format of primitive list")
    if isinstance(result.get(key), list):
        result[key] = [v for v in result[key] if v not in gone]


# -- lists that merge -------------------------------------------------------------------------------------------------


def _merge_list(original: list[Any], patch: list[Any], node: Node) -> list[Any]:
    if not original and not patch:
        return []
    sample = next(iter(patch or original))
    if not isinstance(sample, dict):
        if any(isinstance(v, dict | list) for v in (*original, *patch)):
            raise bad_request("invalid patch format of primitive list")
        merged = list(dict.fromkeys([*original, *patch]))
        return _in_order(merged, patch, original, lambda v: v)
    key = node.merge_key
    if not key:
        raise _failed(f"cannot merge lists without merge key for {go_value(sample)}")
    plain, base = _specials(original, patch, key)
    if plain is None:
        return [_clean(v, node.items) for v in base]
    merged = list(base)
    places = {_key(item, key): i for i, item in enumerate(merged)}
    for item in plain:
        name = _key(item, key)
        if name in places:
            merged[places[name]] = _merge_map(merged[places[name]], item, node.items)
        else:
            places[name] = len(merged)
            merged.append(_clean(item, node.items))
    return _in_order(merged, plain, original, lambda v: _key(v, key))


def _specials(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any] | None, list[Any]]:
    """The patch's items without directives, and the original without what they delete; (None, new list) to replace."""
    plain: list[Any] = []
    gone: list[Any] = []
    replace = False
    for item in patch:
        kind = item.get(DIRECTIVE) if isinstance(item, dict) else None
        if kind == "delete":
            gone.append(_key(item, key))
        elif kind == "replace":
            replace = True
        elif kind is None:
            plain.append(item)
        elif kind != "merge":
            raise _failed(f"unknown patch type: {kind} in map: {go_value(item)}")
    if replace:
        return None, plain
    return plain, [item for item in original if not gone or _key(item, key) not in gone]


def _key(item: Any, key: str) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise _failed(f"map: {go_value(item)} does not contain declared merge key: {key}")
    found = item[key]
    return found if not isinstance(found, dict | list) else repr(found)


def _in_order(merged: list[Any], wanted: list[Any], server: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    """The patch's items in the patch's order, the server's own ones where they stood relative to those."""
    rank = {key(v): i for i, v in reversed(list(enumerate(wanted)))}
    patched = sorted((v for v in merged if key(v) in rank), key=lambda v: rank[key(v)])
    before = {key(v): i for i, v in reversed(list(enumerate(server)))}
    own = sorted((v for v in merged if key(v) not in rank), key=lambda v: before.get(key(v), len(before)))
    result: list[Any] = []
    i = j = 0
    while i < len(own) and j < len(patched):
        left, right = before.get(key(own[i])), before.get(key(patched[j]))
        if left is not None and right is not None and left < right:
            result.append(own[i])
            i += 1
        else:
            result.append(patched[j])
            j += 1
    return [*result, *own[i:], *patched[j:]]


def _merge_ordered(result: dict[str, Any], plain: dict[str, Any], field: str, order: Any, node: Node | None) -> None:
    """Merge one list and put it into the order that the patch gives; takes the list out of `plain`."""
    if not isinstance(order, list):
        raise _failed(f"expected a []interface {{}}, but received a {go_type(order)}")
    child = node.field(field) if node else None
    key = child.merge_key if child else ""
    patch, original = plain.pop(field, None), result.get(field)

    def identity(item: Any) -> Any:
        return _key(item, key) if isinstance(item, dict) else item

    _check_order(patch, order, identity)
    if patch is not None:
        merged = _merge(original, patch, child) if original is not None else _clean(patch, child)
    else:
        merged = original
    if isinstance(merged, list):
        server = original if isinstance(original, list) else []
        result[field] = _in_order(merged, order, server, identity)


def _check_order(patch: Any, order: list[Any], identity: Callable[[Any], Any]) -> None:
    """Every item of the patch must be in the order list, in the same sequence."""
    items = [v for v in patch or () if not (isinstance(v, dict) and DIRECTIVE in v)]
    ranks = {identity(v): i for i, v in enumerate(order)}
    found = [ranks.get(identity(v)) for v in items]
    if any(f is None for f in found) or found != sorted(f for f in found if f is not None):
        name = ORDER.removesuffix("/")
        raise _failed(f"The order in patch list:\n{go_value(items)}\n doesn't match {name} list:\n{go_value(order)}\n")
