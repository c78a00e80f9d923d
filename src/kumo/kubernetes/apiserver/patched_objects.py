"""What a patch makes of an object: applied, checked against the schema, refused in the words of each kind of patch."""

from __future__ import annotations

import json
from typing import Any

from kumo.api.errors import Cause, StatusError, bad_request, invalid, modified
from kumo.api.go_text import go_value
from kumo.api.objects import Object
from kumo.api.patch.json_patch import apply_json_patch, json_kind, unknown_fields
from kumo.api.patch.merge_patch import apply_merge_patch
from kumo.api.patch.strategic import apply_strategic_patch
from kumo.api.schema import Node
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.incoming import decode
from kumo.kubernetes.apiserver.splice import encode

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


def patched(call: Call, kind: str, old: Object, body: Any) -> Object:
    """The object with the patch applied; only its form is checked. Raises 400, 413, 422, 500."""
    if kind == JSON_PATCH:
        found = apply_json_patch(old, body)
    elif kind == MERGE_PATCH:
        if body is None:
            raise bad_request("Invalid JSON Patch")
        if not isinstance(body, dict):
            raise bad_request("error decoding patch: " + _not_a_map(body))
        found = apply_merge_patch(old, body)
    else:
        if not isinstance(body, dict | None):
            raise bad_request(_not_a_map(body))
        found = apply_strategic_patch(old, body or {}, call.resource.schema.root)
    if not isinstance(found, dict):
        raise bad_request("the patch leaves no object")
    return found


def _not_a_map(body: Any) -> str:
    return f"json: cannot unmarshal {json_kind(body)} into Go value of type map[string]interface {{}}"


def conforming(call: Call, obj: Object, body: Any) -> Object:
    """The patched object as its schema has it, with the limits on what a patch may do to it. Raises 400, 422."""
    gvk, name = call.resource.gvk, call.info.name
    kind = bodies.media_type(call.request)
    _check_kind(call, kind, obj, body)
    try:
        found, unknown = decode(call.resource.schema, obj)
    except StatusError as error:
        why = error.message.partition(f"cannot be handled as a {gvk.kind}: ")[2] or error.message
        if kind == STRATEGIC_PATCH:
            why = _cannot_restore(call.resource.schema.root, obj) or why
        raise _unfit(kind, obj, body, why) from None
    _complain(call, kind, found, body, [f'unknown field "{path}"' for path in sorted(unknown)])
    meta = found.setdefault("metadata", {})
    if call.resource.type.namespaced:
        if (meta.get("namespace") or call.info.namespace) != call.info.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        meta["namespace"] = call.info.namespace
    check_name(meta, name)
    return found


def check_name(meta: Object, name: str) -> None:
    """Refuse an object that is not the one in the path. Raises 400."""
    if not meta.get("name"):
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if meta["name"] != name:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")


def check_uid(call: Call, new: Object, old: Object) -> None:
    """Refuse another uid. Raises 409 if the object is newer than the patch says, else 422."""
    meta, stale = new["metadata"], old["metadata"]
    uid = meta.get("uid") or ""
    if not uid or uid == stale["uid"]:
        return
    gvk = call.resource.gvk
    if meta.get("resourceVersion") not in (None, "", stale["resourceVersion"]):
        raise modified(gvk.group, call.resource.type.resource, call.info.name)
    cause = Cause("metadata.uid", f'Invalid value: "{uid}": field is immutable')
    raise invalid(gvk.group, gvk.kind, call.info.name, [cause, cause])


def _check_kind(call: Call, kind: str, obj: Object, body: Any) -> None:
    gvk = call.resource.gvk
    version, named = obj.get("apiVersion") or gvk.api_version, obj.get("kind") or gvk.kind
    if (version != gvk.api_version or named != gvk.kind) and kind != STRATEGIC_PATCH:
        where = "pkg/api/legacyscheme/scheme.go:30"
        why = f'no kind "{named}" is registered for version "{version}" in scheme "{where}"'
        raise _unfit(kind, obj, body, why)
    obj["apiVersion"], obj["kind"] = gvk.api_version, gvk.kind


def _complain(call: Call, kind: str, obj: Object, body: Any, complaints: list[str]) -> None:
    """Tell of fields that are unknown or said twice, as the client wants it."""
    how = call.query.get("fieldValidation") or "Warn"
    if how == "Ignore":
        return
    data = call.request.content
    said: list[str] = []
    if isinstance(data, bytes):
        prefix = "json patch " if kind == JSON_PATCH else ""
        said = [f'{prefix}duplicate field "{path}"' for path in bodies.duplicates(data, body)]
    if kind == JSON_PATCH:
        said += [f'json patch unknown field "{path}"' for path in unknown_fields(body)]
    said += complaints
    if said and how == "Strict":
        raise _unfit(kind, obj, body, "strict decoding error: " + ", ".join(said))
    call.warnings += said


def _unfit(kind: str, obj: Object, body: Any, why: str) -> StatusError:
    """422: what the patch leaves can't be read (a merge), or what it says (a strategic merge)."""
    if kind == STRATEGIC_PATCH:
        shown = json.dumps(go_value(body), ensure_ascii=False)
    else:
        shown = json.dumps(encode({key: obj[key] for key in sorted(obj)}).decode(), ensure_ascii=False)
    return invalid("", "", "", [Cause("patch", f"Invalid value: {shown}: {why}")])


_KINDS = {dict: "map", list: "slice", str: "string", int: "int64", float: "float64", bool: "bool"}
_SCALARS = {"string": "string", "boolean": "bool", "number": "float64"}


def _cannot_restore(node: Node, value: Any) -> str:
    """What Go's converter from unstructured values says of the first value that doesn't fit; empty for none."""
    if value is None or node.type == "any":
        return ""
    kind = _KINDS[type(value)]
    if node.type == "object":
        if not isinstance(value, dict):
            return f"cannot restore struct from: {kind}"
        found = (_cannot_restore(node.fields[k], v) for k, v in value.items() if k in node.fields)
    elif node.type == "map":
        if not isinstance(value, dict):
            return f"cannot restore map from {kind}"
        found = (_cannot_restore(node.values, v) for v in value.values() if node.values is not None)
    elif node.type == "array":
        if not isinstance(value, list):
            return f"cannot restore slice from {kind}"
        found = (_cannot_restore(node.items, v) for v in value if node.items is not None)
    else:
        return _cannot_convert(node, value, kind)
    return next((text for text in found if text), "")


def _cannot_convert(node: Node, value: Any, kind: str) -> str:
    wanted = _SCALARS.get(node.type) or (node.format or "int64" if node.type == "integer" else "")
    if not wanted or kind == wanted or (wanted.startswith("int") and kind == "int64"):
        return ""
    if wanted.startswith("int") and kind == "float64":
        return f"cannot convert {kind} to {wanted}"
    return (
        f"cannot convert {kind} to string" if wanted == "string" and kind != "map" else f"unrecognized type: {wanted}"
    )
