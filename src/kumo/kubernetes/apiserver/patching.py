"""PATCH: JSON patch, merge patch, strategic merge patch, and server-side apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kumo.api.errors import StatusError, bad_request, conflict, unsupported_media_type
from kumo.api.objects import Object
from kumo.api.patch.apply import Applied, apply
from kumo.api.patch.typed import TypedError
from kumo.api.resources import GVK
from kumo.api.schema.pruning import has_misplaced_null
from kumo.kubernetes.apiserver import bodies, managed_fields
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creating import create_object, raise_invalid
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.incoming import decode
from kumo.kubernetes.apiserver.json_errors import json_error
from kumo.kubernetes.apiserver.patched_objects import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    check_name,
    check_uid,
    conforming,
    patched,
)
from kumo.kubernetes.apiserver.slicing import LARGE, aside
from kumo.kubernetes.apiserver.updating import modify
from kumo.kubernetes.apiserver.write_options import check_options

APPLY_PATCH = "application/apply-patch+yaml"
_LIMIT = bodies.LIMIT


async def patch(core: Core, call: Call) -> tuple[Entry, bool]:
    """Patch the object; its entry, and whether an apply made it."""
    kind, body = await read_patch(call)
    if kind == APPLY_PATCH:
        return await _apply(core, call, body)

    def make(old: Object) -> Object:
        fresh = conforming(call, patched(call, kind, old, body), body)
        check_uid(call, fresh, old)
        return fresh

    return await modify(core, call, make), False


async def read_patch(call: Call) -> tuple[str, Any]:
    """The patch's media type and its decoded body. Raises 400, 413, 415."""
    kind = bodies.media_type(call.request)
    known = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    if call.resource.custom is None:
        known.insert(2, STRATEGIC_PATCH)
    if kind not in known:
        if call.resource.custom is None:
            raise unsupported_media_type("415: Unsupported Media Type")
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(known)
        )
    data = await bodies.read(call.request, _LIMIT)
    check_options(call, kind)
    call.large = len(data) > LARGE
    return kind, await aside(call.large, lambda: _decode(call, kind, data))


def _decode(call: Call, kind: str, data: bytes) -> Any:
    if kind == APPLY_PATCH:
        return _decode_yaml(call, data)
    try:
        return bodies.decode_json(data, call.resource.gvk.kind)
    except StatusError as error:
        why = json_error(data) or error.message.rpartition("json parse error: ")[2]
        raise bad_request(why if kind == STRATEGIC_PATCH else f"error decoding patch: {why}") from None


async def _apply(core: Core, call: Call, body: Any) -> tuple[Entry, bool]:
    """Server-side apply: create what is not there, else merge by the schema. Raises 409 for what others manage."""
    config = configuration(call, body, call.resource.gvk)
    manager, where = call.query["fieldManager"], managed_fields.tracker(core, call)
    if core.storage.get(call.resource, call.namespace, call.info.name) is None and not call.info.subresource:
        try:
            new = lambda: merged(call.resource.gvk, config, lambda: apply(where, None, config, manager))  # noqa: E731
            made = await aside(call.large and call.resource.conversion is None, new)
            fresh = _applied(call, made.object)
            stated = fresh["metadata"].get("uid")
            if stated:
                kind, why = call.resource.type, "and no existing object was found"
                raise conflict(
                    kind.group,
                    kind.resource,
                    call.info.name,
                    f"uid mismatch: the provided object specified uid {stated}, {why}",
                )
            fresh["metadata"].pop("resourceVersion", None)
            return await create_object(core, call, fresh, name=call.info.name, managed=made.managed_fields)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    managed: list[Object] = []

    def make(old: Object) -> Object:
        force = call.flag("force")
        made = merged(call.resource.gvk, config, lambda: apply(where, old, config, manager, force=force))
        managed[:] = made.managed_fields
        fresh = _applied(call, made.object)
        check_uid(call, fresh, old)
        return fresh

    track = lambda old, new, stated: managed  # noqa: E731
    return await modify(core, call, make, track=track), False


def _decode_yaml(call: Call, data: bytes) -> Any:
    """What is to be applied; keys that are there twice are told of. Raises 400."""
    try:
        found = bodies.decode_yaml(data, call.resource.gvk.kind)
    except StatusError as error:
        why = error.message.rpartition("): yaml: ")[2].rpartition(" (")[0]
        raise bad_request(f"error decoding YAML: error converting YAML to JSON: yaml: {why}") from None
    how = call.field_validation()
    twice = bodies.yaml_duplicates(data, found) if how != "Ignore" else []
    if twice and how == "Strict":
        listed = "".join(f"\n  {text}" for text in twice)
        raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:{listed}")
    call.warnings += twice
    return found


def configuration(call: Call, body: Any, gvk: GVK) -> Object:
    """What is applied, as an object. Raises 400."""
    if body is None:
        body = {}
    if not isinstance(body, dict):
        what = "array" if isinstance(body, list) else "string" if isinstance(body, str) else "number"
        raise bad_request(
            f"error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} "
            "into Go value of type map[string]interface {}"
        )
    version, kind = (v if isinstance(v, str) else "" for v in (body.get("apiVersion"), body.get("kind")))
    if version.count("/") > 1:
        version = ""
    if version != gvk.api_version or kind != gvk.kind:
        shown = version if "/" in version else f"/{version}"
        raise bad_request(f"invalid object type: {shown}, Kind={kind}")
    meta = body.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    return body


def merged(gvk: GVK, config: Object, do: Callable[[], Applied]) -> Applied:
    """What comes of the apply. Raises 500 for a configuration that doesn't fit the schema, as upstream."""
    try:
        return do()
    except TypedError as error:
        meta = config.get("metadata")
        meta = meta if isinstance(meta, dict) else {}
        where = f"{meta.get('namespace') or ''}/{meta.get('name') or ''}; {gvk.group}/{gvk.version}, Kind={gvk.kind}"
        raise StatusError(500, "", f"failed to create typed patch object ({where}): {error}") from None


def _applied(call: Call, obj: Object) -> Object:
    """What came of an apply, as its schema has it, in the place that the path names. Raises 400, 500."""
    gvk, name = call.resource.gvk, call.info.name
    try:
        found, _ = decode(call.resource.schema, obj)
    except StatusError as error:
        stated = obj.get("metadata") or {}
        where = (
            f"{stated.get('namespace') or ''}/{stated.get('name') or ''}; {gvk.group}/{gvk.version}, Kind={gvk.kind}"
        )
        why = error.message.partition(f"cannot be handled as a {gvk.kind}: ")[2] or error.message
        why = f"error decoding from json: {why}" if why.startswith("illegal base64") else why
        raise StatusError(
            500,
            "",
            f"failed to convert new object ({where}) to proper version: unable to convert unstructured object to "
            f"{gvk.group}/{gvk.version}, Kind={gvk.kind}: {why}",
        ) from None
    meta = found.setdefault("metadata", {})
    meta.pop("selfLink", None)
    if call.resource.type.namespaced:
        if (meta.get("namespace") or call.info.namespace) != call.info.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        meta["namespace"] = call.info.namespace
    else:
        meta.pop("namespace", None)
    check_name(meta, name)
    if call.resource.custom is not None:
        _refuse_nulls(call, found)
    return found


def _refuse_nulls(call: Call, found: Object) -> None:
    """Refuse nulls that a custom kind's schema does not allow: other writes drop them. Raises 422."""
    body = {k: v for k, v in found.items() if k not in ("metadata", "status")}
    if has_misplaced_null(call.resource.schema.root, body):
        wrong = call.resource.schema.validate(found)
        raise_invalid(call, found, [c for c in wrong if c.message.startswith('Invalid value: "null"')])
