"""The VirtualMachineInstance that a VirtualMachine starts. Pure."""

from __future__ import annotations

import copy
import uuid
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of, owner_reference
from kumo.kubevirt.common import names
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.defaults import set_default_disks, set_default_input, set_default_interface
from kumo.kubevirt.common.instancetypes import apply
from kumo.kubevirt.common.instancetypes.preferences import apply_preference
from kumo.kubevirt.common.specs import child
from kumo.kubevirt.virt_controller.machine.requests import has_paused_start_request

_UUID_SPACE = uuid.UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")
"""Namespace in which upstream derives the firmware's UUID from a VM's name, where none was stored."""


def legacy_uuid(name: str) -> str:
    """The firmware UUID of a VM that has none of its own: the same at every start."""
    return str(uuid.uuid5(_UUID_SPACE, name))


def start_revision_name(vm: Object) -> str:
    """Name of the ControllerRevision that remembers what an instance of this VM was started from."""
    meta = vm["metadata"]
    return f"revision-start-vm-{meta['uid']}-{meta.get('generation', 0)}"


def new_instance(
    vm: Object,
    config: ClusterConfig,
    instancetype: dict[str, Any] | None = None,
    preference: dict[str, Any] | None = None,
) -> Object:
    """The instance to create for the VM, with its instance type and preference (their specs) applied.

    Raises Conflict when the VM says itself what its instance type says, DefaultsError when the default network is not
    permitted. virt-api fills in the rest.
    """
    template = (vm.get("spec") or {}).get("template") or {}
    meta = copy.deepcopy(template.get("metadata") or {})
    for name in ("generateName", "creationTimestamp"):
        meta.pop(name, None)
    spec: dict[str, Any] = copy.deepcopy(template.get("spec") or {})
    annotations: dict[str, str] = meta.setdefault("annotations", {})
    annotations[names.VM_GENERATION_ANNOTATION] = str(vm["metadata"].get("generation", 0))
    annotations |= _origin(vm)
    owner = {"apiVersion": names.API_VERSION, "kind": "VirtualMachine", "metadata": vm["metadata"]}
    meta |= {
        "name": name_of(vm),
        "namespace": namespace_of(vm),
        "ownerReferences": [owner_reference(owner)],
        "finalizers": [names.VM_FINALIZER],
    }
    if has_paused_start_request(vm):
        spec["startStrategy"] = "Paused"
    firmware = child(child(spec, "domain"), "firmware")
    firmware["uuid"] = firmware.get("uuid") or legacy_uuid(name_of(vm))
    set_default_disks(spec)
    if preference is not None:
        _auto_attach_first(preference, spec)
    set_default_input(spec)
    set_default_interface(config, spec)
    apply(instancetype, preference, spec, annotations)
    return {
        "apiVersion": names.API_VERSION,
        "kind": "VirtualMachineInstance",
        "metadata": meta,
        "spec": spec,
        "status": {"virtualMachineRevisionName": start_revision_name(vm)},
    }


def _auto_attach_first(preference: dict[str, Any], spec: dict[str, Any]) -> None:
    """What a preference says of automatic devices counts before such devices are added."""
    wanted = {k: v for k, v in (preference.get("devices") or {}).items() if k.startswith("preferredAutoattach")}
    if wanted:
        scratch = {"domain": {"devices": child(child(spec, "domain"), "devices")}}
        shadow = copy.deepcopy(scratch)
        apply_preference({"devices": wanted}, shadow, {})
        for name, value in shadow["domain"]["devices"].items():
            if name.startswith("autoattach"):
                scratch["domain"]["devices"][name] = value


def _origin(vm: Object) -> dict[str, str]:
    """Annotations that name the instance type and the preference."""
    found = {}
    for which, own, cluster in (
        ("instancetype", names.INSTANCETYPE_ANNOTATION, names.CLUSTER_INSTANCETYPE_ANNOTATION),
        ("preference", names.PREFERENCE_ANNOTATION, names.CLUSTER_PREFERENCE_ANNOTATION),
    ):
        matcher = (vm.get("spec") or {}).get(which)
        if matcher and matcher.get("name"):
            for_cluster = "cluster" in (matcher.get("kind") or "cluster").lower()
            found[cluster if for_cluster else own] = matcher["name"]
    return found
