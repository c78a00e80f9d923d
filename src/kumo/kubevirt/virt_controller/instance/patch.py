"""The JSON patch by which virt-controller changes an instance that virt-handler owns: only its parts, with tests."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.kubevirt.virt_controller.conditions import same

_STATUS_PARTS = ("volumeStatus", "activePods", "phase", "launcherContainerImageVersion")
_META_PARTS = ("labels", "annotations", "finalizers")


def instance_patch(old: Object, new: Object) -> list[dict[str, Any]]:
    """The operations that turn the parts of `old` that virt-controller may change into those of `new`."""
    operations: list[dict[str, Any]] = []
    before, after = old.get("status") or {}, new.get("status") or {}
    for name in _STATUS_PARTS:
        if before.get(name) != after.get(name):
            operations += _change(f"/status/{name}", before.get(name), after.get(name))
    if not same(before.get("conditions"), after.get("conditions")):
        operations += _change("/status/conditions", before.get("conditions"), after.get("conditions"))
    if _by_name(before) != _by_name(after):
        operations += _change("/status/interfaces", before.get("interfaces"), after.get("interfaces"))
    for name in _META_PARTS:
        was, now = old["metadata"].get(name), new["metadata"].get(name)
        if was != now:
            operations += _change(f"/metadata/{name}", was, now)
    return operations


def _by_name(status: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(status.get("interfaces") or [], key=lambda i: str(i.get("name")))


def _change(path: str, was: Any, now: Any) -> list[dict[str, Any]]:
    if was is None:
        return [{"op": "add", "path": path, "value": now}]
    test = {"op": "test", "path": path, "value": was}
    if now is None:
        return [test, {"op": "remove", "path": path}]
    return [test, {"op": "replace", "path": path, "value": now}]
