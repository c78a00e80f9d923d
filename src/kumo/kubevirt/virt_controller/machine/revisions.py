"""ControllerRevisions of a VM: what its instance was started from, and copies of its instance type and preference."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.objects import Object, controller_of, name_of, namespace_of, owner_reference, uid_of
from kumo.api.resources import CONTROLLERREVISIONS
from kumo.kubevirt.common import names
from kumo.kubevirt.common.instancetypes import find
from kumo.kubevirt.virt_controller.machine.instance import start_revision_name

_START = "revision-start-vm-"


def _revision(vm: Object, name: str, data: dict[str, Any], number: int, labels: dict[str, str] | None = None) -> Object:
    owner = {"apiVersion": names.API_VERSION, "kind": "VirtualMachine", "metadata": vm["metadata"]}
    meta: dict[str, Any] = {"name": name, "namespace": namespace_of(vm), "ownerReferences": [owner_reference(owner)]}
    if labels:
        meta["labels"] = labels
    made: Object = {"apiVersion": CONTROLLERREVISIONS.api_version, "kind": "ControllerRevision", "metadata": meta}
    return {**made, "data": data, "revision": number}


def start_revision(vm: Object) -> Object:
    """The revision that remembers the VM's spec as it is now."""
    generation = int(vm["metadata"].get("generation", 0))
    return _revision(vm, start_revision_name(vm), {"spec": copy.deepcopy(vm["spec"])}, generation)


def outdated_starts(vm: Object, revisions: list[Object]) -> list[Object]:
    """Those of the namespace's revisions that remember an earlier start of this VM."""
    current = start_revision_name(vm)
    return [
        r
        for r in revisions
        if (controller_of(r) or {}).get("uid") == uid_of(vm) and name_of(r).startswith(_START) and name_of(r) != current
    ]


def instancetype_revision(vm: Object, obj: Object, kind: str) -> Object:
    """A copy of an instance type or preference (`kind`), for this VM: later changes of the original don't change it."""
    meta = obj["metadata"]
    version = "v1beta1"
    generation = int(meta.get("generation", 0))
    name = f"{name_of(vm)}-{meta['name']}-{version}-{meta['uid']}-{generation}"
    kept = ("name", "namespace", "uid", "generation", "creationTimestamp", "resourceVersion")
    data = {
        "apiVersion": f"instancetype.kubevirt.io/{version}",
        "kind": kind,
        "metadata": {k: v for k, v in meta.items() if k in kept},
        "spec": copy.deepcopy(obj.get("spec") or {}),
    }
    labels = {
        find.GENERATION_LABEL: str(generation),
        find.KIND_LABEL: kind,
        find.NAME_LABEL: meta["name"],
        find.UID_LABEL: meta["uid"],
        find.VERSION_LABEL: version,
    }
    return _revision(vm, name, data, 0, labels)


def reference(matcher: dict[str, Any], kind: str, revision: str) -> dict[str, Any]:
    """What goes into `status.instancetypeRef` or `preferenceRef`."""
    made: dict[str, Any] = {"name": matcher.get("name", ""), "kind": matcher.get("kind") or kind.lower()}
    for name in ("inferFromVolume", "inferFromVolumeFailurePolicy"):
        if matcher.get(name):
            made[name] = matcher[name]
    return {**made, "controllerRevisionRef": {"name": revision}}
