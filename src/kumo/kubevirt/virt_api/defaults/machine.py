"""The defaults of a VirtualMachine: few, as its instance gets the rest."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.objects import Object, new_uid
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.instancetypes.preferences import apply_architecture
from kumo.kubevirt.common.specs import child
from kumo.kubevirt.virt_api.defaults.canonical import canonicalize
from kumo.kubevirt.virt_api.defaults.instance import set_pci_topology


def new_machine(
    config: ClusterConfig, vm: Object, preference: dict[str, Any] | None = None, *, creating: bool = True
) -> Object:
    """The VM as it is stored when somebody writes `vm`. A copy.

    `preference` is the spec of the preference that the VM names, if it is there. Raises ValueError for what is no
    quantity.
    """
    made = copy.deepcopy(vm)
    template = child(child(made, "spec"), "template")
    spec = child(template, "spec")
    canonicalize(spec)
    apply_architecture(preference, spec)
    machine = child(child(spec, "domain"), "machine")
    machine["type"] = machine.get("type") or ((preference or {}).get("machine") or {}).get("preferredMachineType", "")
    _set_storage_class(preference, made)
    if creating:
        firmware = child(spec["domain"], "firmware")
        firmware["uuid"] = firmware.get("uuid") or new_uid()
        firmware["serial"] = firmware.get("serial") or new_uid()
    spec["architecture"] = spec.get("architecture") or config.default_architecture
    machine["type"] = machine["type"] or config.machine_type(spec["architecture"])
    if creating:
        set_pci_topology(child(template, "metadata"), spec)
    return made


def _set_storage_class(preference: dict[str, Any] | None, vm: Object) -> None:
    wanted = ((preference or {}).get("volumes") or {}).get("preferredStorageClassName")
    if not wanted:
        return
    for data_volume in vm["spec"].get("dataVolumeTemplates") or ():
        for kind in ("pvc", "storage"):
            claim = (data_volume.get("spec") or {}).get(kind)
            if claim is not None:
                claim.setdefault("storageClassName", wanted)
