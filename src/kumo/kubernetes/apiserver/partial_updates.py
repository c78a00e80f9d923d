"""Subresources that change one part of an object: ephemeral containers, in-place resize, finalize."""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.errors import Cause, bad_request, invalid
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.incoming import read_object
from kumo.kubernetes.apiserver.patching import conforming, patched, read_patch
from kumo.kubernetes.apiserver.updating import check_version, modify

_RESIZABLE = ("cpu", "memory")


async def partial_update(core: Core, call: Call) -> Entry:
    """PUT or PATCH of such a subresource: only its part of the object counts."""
    carry: Callable[[Object, Object], None] = {
        "ephemeralcontainers": _carry_ephemeral,
        "resize": _carry_resources,
    }[call.info.subresource]
    if call.info.verb == "patch":
        kind, body = await read_patch(call)
    else:
        kind, body = "", await read_object(call)

    def make(old: Object) -> Object:
        wanted = conforming(call, patched(call, kind, core.copy(old), body), body) if kind else body
        check_version(call, wanted, old)
        before = core.copy(old.get("spec") or {})
        carry(wanted, old)
        call.resource.strategy.default(old)
        if call.info.resource == "pods" and old.get("spec") != before:
            old["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1
        return old

    return await modify(core, call, make, free=True)


def _carry_ephemeral(wanted: Object, old: Object) -> None:
    """Ephemeral containers may be added; the present ones stay as they are. Raises 422."""
    present = (old["spec"].get("ephemeralContainers")) or []
    asked = (wanted.get("spec") or {}).get("ephemeralContainers") or []
    by_name = {c.get("name"): c for c in asked}
    taken = {c.get("name") for part in ("containers", "initContainers") for c in old["spec"].get(part) or ()}
    causes = []
    for index, container in enumerate(present):
        if container["name"] not in by_name:
            text = f'Forbidden: existing ephemeral containers "{container["name"]}" may not be removed\n'
            causes.append(Cause("spec.ephemeralContainers", text, "FieldValueForbidden"))
        elif any(by_name[container["name"]].get(k) != container.get(k) for k in ("image", "command", "args")):
            text = f'Forbidden: existing ephemeral containers "{container["name"]}" may not be changed\n'
            causes.append(Cause(f"spec.ephemeralContainers[{index}]", text, "FieldValueForbidden"))
    for index, container in enumerate(asked):
        path = f"spec.ephemeralContainers[{index}]"
        if not container.get("name"):
            causes.append(Cause(f"{path}.name", "Required value", "FieldValueRequired"))
        elif container["name"] in taken:
            causes.append(Cause(f"{path}.name", f'Duplicate value: "{container["name"]}"', "FieldValueDuplicate"))
        if not container.get("image"):
            causes.append(Cause(f"{path}.image", "Required value", "FieldValueRequired"))
    if causes:
        raise invalid("", "Pod", old["metadata"]["name"], causes)
    old["spec"]["ephemeralContainers"] = asked


def _carry_resources(wanted: Object, old: Object) -> None:
    """Only cpu and memory of containers may change. Raises 422."""
    asked = {c.get("name"): c for c in (wanted.get("spec") or {}).get("containers") or ()}
    if set(asked) != {c["name"] for c in old["spec"]["containers"]}:
        why = "Forbidden: only cpu and memory resources are mutable"
        raise invalid("", "Pod", old["metadata"]["name"], [Cause("spec", why, "FieldValueForbidden")])
    for container in old["spec"]["containers"]:
        fresh = asked[container["name"]].get("resources") or {}
        resources = container.setdefault("resources", {})
        for side in ("requests", "limits"):
            values = {k: v for k, v in (fresh.get(side) or {}).items() if k in _RESIZABLE}
            kept = {k: v for k, v in (resources.get(side) or {}).items() if k not in _RESIZABLE}
            if values or kept:
                resources[side] = {**kept, **values}
        if asked[container["name"]].get("resizePolicy"):
            container["resizePolicy"] = asked[container["name"]]["resizePolicy"]


async def finalize_namespace(core: Core, call: Call) -> Entry:
    """PUT namespaces/finalize: set `spec.finalizers`; with the last one the namespace goes. Raises 400, 404, 409."""
    wanted = await read_object(call)
    if (wanted.get("metadata") or {}).get("name") != call.info.name:
        raise bad_request("the name of the object does not match the name on the URL")

    def make(old: Object) -> Object:
        check_version(call, wanted, old)
        finalizers = (wanted.get("spec") or {}).get("finalizers")
        spec = old.setdefault("spec", {})
        spec.pop("finalizers", None)
        if finalizers:
            spec["finalizers"] = finalizers
        if "status" in wanted:
            old["status"] = wanted["status"]
        return old

    return await modify(core, call, make, subresource="finalize", free=True)
