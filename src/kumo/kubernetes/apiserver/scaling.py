"""The scale subresource: how many replicas a workload should have, in one form for all (autoscaling/v1 Scale)."""

from __future__ import annotations

from typing import Any

from kumo.api.errors import Cause, StatusError, bad_request, invalid
from kumo.api.objects import Object
from kumo.api.patch.apply import apply
from kumo.api.patch.scale import to_parent, to_scale
from kumo.api.patch.shapes import shape_of
from kumo.api.patch.tracking import Tracker
from kumo.api.resources import GVK
from kumo.api.schema import builtin_schema
from kumo.api.selectors import to_text
from kumo.kubernetes.apiserver import managed_fields
from kumo.kubernetes.apiserver.admission_view import Projected
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.incoming import conform, read_as
from kumo.kubernetes.apiserver.patched_objects import MERGE_PATCH, STRATEGIC_PATCH, check_name, patched
from kumo.kubernetes.apiserver.patching import (
    APPLY_PATCH,
    configuration,
    merged,
    read_patch,
)
from kumo.kubernetes.apiserver.registry import Scale
from kumo.kubernetes.apiserver.updating import check_version, missing, modify

GVK_SCALE = GVK("autoscaling", "v1", "Scale")


def _at(obj: Object, path: str) -> Any:
    found: Any = obj
    for step in path.strip(".").split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(step)
    return found


def scale_of(obj: Object, where: Scale) -> Object:
    """The object's Scale."""
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": _at(obj, where.status) or 0}
    selector = _at(obj, where.selector) if where.selector else None
    if isinstance(selector, str):
        status["selector"] = selector
    elif isinstance(selector, dict):
        old_style = "matchLabels" not in selector and "matchExpressions" not in selector
        status["selector"] = to_text({"matchLabels": selector} if old_style else selector)
    replicas = _at(obj, where.spec)
    spec = {"replicas": replicas} if replicas else {}
    return {
        "kind": "Scale",
        "apiVersion": GVK_SCALE.api_version,
        "metadata": {k: meta[k] for k in kept if k in meta},
        "spec": spec,
        "status": status,
    }


async def get_scale(core: Core, call: Call) -> Object:
    """GET scale. Raises 404."""
    entry = core.storage.get(call.resource, call.namespace, call.info.name)
    if entry is None:
        raise missing(call)
    obj, where = call.resource.object(await call.resource.presented(entry)), _where(call)
    if call.resource.custom is not None and _at(obj, where.spec) is None:
        why = f'the spec replicas field "{where.spec}" does not exist'
        raise StatusError(500, "InternalError", f"Internal error occurred: {why}", {"causes": [{"message": why}]})
    return scale_of(obj, where)


def _where(call: Call) -> Scale:
    assert call.resource.scale is not None
    return call.resource.scale


async def put_scale(core: Core, call: Call) -> Object:
    """PUT or PATCH scale: only `spec.replicas` counts. Raises 400, 404, 409, 422."""
    where = _where(call)
    kind, body = await _read(call)
    tracker, manager = _tracker(core, call), managed_fields.manager_of(call)
    managed: list[Object] = []

    def path_of(version: str) -> str:
        return _path_of(core, call, version)

    def make(old: Object) -> Object:
        fresh: Object = core.copy(old)
        now = scale_of(old, where)
        entries = old["metadata"].get("managedFields")
        now["metadata"]["managedFields"] = to_scale(entries, path_of)
        if kind == APPLY_PATCH:
            made = merged(
                GVK_SCALE, body, lambda: apply(tracker, now, core.copy(body), manager, force=call.flag("force"))
            )
            wanted, scaled = made.object, made.managed_fields
        else:
            wanted = _wanted(call, kind, core.copy(now), body)
            scaled = tracker.updated(now, wanted, manager)
        check_name(wanted["metadata"], call.info.name)
        check_version(call, wanted, old)
        managed[:] = to_parent(entries, scaled, path_of, call.resource.gvk.api_version)
        _set(fresh, where.spec, _replicas(call, wanted))
        return fresh

    def track(old: Object, new: Object, stated: list[Object] | None) -> list[Object]:
        return managed

    view = Projected(
        GVK_SCALE,
        lambda obj: scale_of(obj, where),
        lambda obj, scale: _set(obj, where.spec, _replicas(call, scale)),
    )
    entry = await modify(core, call, make, subresource="scale", view=view, track=track)
    return scale_of(call.resource.object(await call.resource.presented(entry)), where)


async def _read(call: Call) -> tuple[str, Any]:
    """The patch's media type and its body; no type for a PUT's object. Raises 400, 413, 415."""
    if call.info.verb == "patch":
        kind, body = await read_patch(call)
        if kind == APPLY_PATCH:
            return kind, configuration(call, body, GVK_SCALE)
        return kind, body
    body = await read_as(call, GVK_SCALE)
    meta = body.setdefault("metadata", {})
    check_name(meta, call.info.name)
    if (meta.get("namespace") or call.namespace) != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return "", body


def _wanted(call: Call, kind: str, now: Object, body: Any) -> Object:
    if not kind:
        return {**body, "metadata": dict(body.get("metadata") or {})}
    if kind == STRATEGIC_PATCH and isinstance(body, dict | None):
        kind, body = MERGE_PATCH, body or {}  # a Scale has nothing that merges in another way
    return conform(call, patched(call, kind, now, body), builtin_schema(GVK_SCALE))


def _tracker(core: Core, call: Call) -> Tracker:
    shape = shape_of(builtin_schema(GVK_SCALE).root)
    version = GVK_SCALE.api_version
    return Tracker(shape, version, lambda obj, wanted: (obj, shape) if wanted == version else None, "scale")


def _path_of(core: Core, call: Call, version: str) -> str:
    """Where an object of that version keeps its replicas."""
    group, _, name = version.rpartition("/")
    other = core.registry.find(group, name, call.resource.type.resource)
    return other.scale.spec if other is not None and other.scale is not None else ""


def _replicas(call: Call, wanted: Object) -> int:
    replicas: int = (wanted.get("spec") or {}).get("replicas") or 0
    if replicas < 0 and call.resource.custom is None:
        text = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid("autoscaling", "Scale", call.info.name, [Cause("spec.replicas", text)])
    return replicas


def _set(obj: Object, path: str, value: Any) -> None:
    *steps, last = path.strip(".").split(".")
    for step in steps:
        obj = obj.setdefault(step, {})
    obj[last] = value
