"""PATCH: JSON patch, merge patch, strategic merge patch, and server-side apply."""

from __future__ import annotations

from typing import Any

from kumo.api.errors import Cause, StatusError, bad_request, invalid, unsupported_media_type
from kumo.api.objects import Object
from kumo.api.patch.apply import apply
from kumo.api.patch.json_patch import apply_json_patch
from kumo.api.patch.merge_patch import apply_merge_patch
from kumo.api.patch.strategic import apply_strategic_patch
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creating import create_object
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.goformat import go_value
from kumo.kubernetes.apiserver.incoming import check_kind, decode
from kumo.kubernetes.apiserver.updating import modify

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_LIMIT = bodies.LIMIT


async def patch(core: Core, call: Call) -> tuple[Entry, bool]:
    """Patch the object; its entry, and whether an apply made it."""
    kind, body = await read_patch(call)
    if kind == APPLY_PATCH:
        return await _apply(core, call, body)

    def make(old: Object) -> Object:
        return conforming(call, patched(call, kind, old, body), body)

    return await modify(core, call, make, operation_options="PatchOptions"), False


async def read_patch(call: Call) -> tuple[str, Any]:
    """The patch's media type and its decoded body. Raises 400, 413, 415."""
    kind = bodies.media_type(call.request)
    known = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    if call.resource.custom is None:
        known.insert(2, STRATEGIC_PATCH)
    if kind not in known:
        listed = ", ".join([*known, "application/apply-patch+cbor"])
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: " + listed
        )
    data = await bodies.read(call.request, _LIMIT)
    if kind == APPLY_PATCH:
        return kind, bodies.decode_yaml(data, call.resource.gvk.kind)
    try:
        return kind, bodies.decode_json(data, call.resource.gvk.kind)
    except StatusError as error:
        raise bad_request(f"error decoding patch: {error.message.rpartition('json parse error: ')[2]}") from None


def patched(call: Call, kind: str, old: Object, body: Any) -> Object:
    """The object with the patch applied; only its form is checked. Raises 400, 422."""
    if kind == JSON_PATCH:
        found = apply_json_patch(old, body)
    elif not isinstance(body, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}")
    elif kind == MERGE_PATCH:
        found = apply_merge_patch(old, body)
    else:
        found = apply_strategic_patch(old, body, call.resource.schema.root)
    if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
        raise bad_request("the patch leaves no object")
    return found


def conforming(call: Call, obj: Object, body: Any) -> Object:
    """The patched object as its schema has it, with the limits on what a patch may do to it."""
    gvk, name = call.resource.gvk, call.info.name
    check_kind(obj, gvk)
    found, unknown = decode(call.resource.schema, obj)
    if unknown:
        _complain(call, [f'unknown field "{path}"' for path in unknown], body)
    meta = found.setdefault("metadata", {})
    if meta.get("name") != name:
        text = f'Invalid value: "{meta.get("name") or ""}": field is immutable'
        raise invalid(gvk.group, gvk.kind, name, [Cause("metadata.name", text)])
    if call.resource.type.namespaced and meta.get("namespace") != call.info.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return found


def _complain(call: Call, complaints: list[str], body: Any) -> None:
    how = call.field_validation()
    if how == "Strict":
        why = "strict decoding error: " + ", ".join(complaints)
        raise invalid("", "", "", [Cause("patch", f'Invalid value: "{go_value(body)}": {why}')])
    if how == "Warn":
        call.warnings += complaints


async def _apply(core: Core, call: Call, body: Any) -> tuple[Entry, bool]:
    """Server-side apply: create what is not there, else merge by the schema. Raises 409 for what others manage."""
    if not call.query.get("fieldManager"):
        raise invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            [Cause("fieldManager", "Required value: is required for apply patch", "FieldValueRequired")],
        )
    obj = check_kind(body, call.resource.gvk)
    meta = obj["metadata"] = obj.get("metadata") or {}
    if not isinstance(meta, dict):
        raise bad_request("error decoding patch: metadata is not an object")
    if meta.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    name = meta.setdefault("name", call.info.name)
    if name != call.info.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({call.info.name})")
    if call.resource.type.namespaced:
        meta.setdefault("namespace", call.info.namespace)
    applied, unknown = decode(call.resource.schema, obj, sparse=True)
    if unknown:
        _complain(call, [f'unknown field "{path}"' for path in unknown], body)
    manager, root = call.query["fieldManager"], call.resource.schema.root
    namespace = call.namespace
    if core.storage.get(call.resource, namespace, call.info.name) is None and not call.info.subresource:
        try:
            fresh = apply(None, core.copy(applied), root, manager=manager)
            fresh, _ = decode(call.resource.schema, fresh)
            return await create_object(core, call, fresh, name=call.info.name)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

    def make(old: Object) -> Object:
        force, below = call.flag("force"), call.info.subresource
        merged = apply(old, core.copy(applied), root, manager=manager, force=force, subresource=below)
        return conforming(call, merged, body)

    return await modify(core, call, make, operation_options="PatchOptions"), False
