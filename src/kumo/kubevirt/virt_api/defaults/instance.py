"""The defaults of a VirtualMachineInstance: its spec, and the status that a new one starts with."""

from __future__ import annotations

import copy
from fractions import Fraction

from kumo.api.objects import Object, metadata, new_uid, timestamp
from kumo.api.quantities import canonical, parse
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.defaults import set_default_disks, set_default_interface
from kumo.kubevirt.common.names import PCI_TOPOLOGY_ANNOTATION, PCI_TOPOLOGY_VERSION, PENDING, VMI_FINALIZER
from kumo.kubevirt.common.specs import Spec, child, limits, quantity, requests, volumes
from kumo.kubevirt.virt_api.defaults.architecture import set_architecture_defaults
from kumo.kubevirt.virt_api.defaults.canonical import canonicalize
from kumo.kubevirt.virt_api.defaults.features import (
    set_disks_inputs_probes,
    set_feature_states,
    set_hyperv_dependencies,
)
from kumo.kubevirt.virt_api.defaults.hotplug import set_hotplug_room

RUNTIME_USER = 107
_STOCK_CPU_REQUEST = "100m"


def supports_pcie_hotplug(spec: Spec) -> bool:
    """Whether the machine has PCI Express root ports: q35 and arm's virt have, s390x and i440fx have not."""
    if spec.get("architecture", "") not in ("amd64", "arm64", ""):
        return False
    machine = (spec.get("domain") or {}).get("machine")
    if machine is None:
        return True
    return "q35" in machine.get("type", "") or machine.get("type", "").startswith("virt")


def set_pci_topology(meta: dict[str, object], spec: Spec) -> None:
    """Note the layout of PCI ports that this machine is made with, unless one is noted. Changes `meta`."""
    if supports_pcie_hotplug(spec):
        annotations = child(meta, "annotations")
        annotations.setdefault(PCI_TOPOLOGY_ANNOTATION, PCI_TOPOLOGY_VERSION)


def set_spec_defaults(config: ClusterConfig, spec: Spec) -> None:
    """The defaults that a VM's template is validated with, too. Changes `spec`. Raises DefaultsError, ValueError."""
    canonicalize(spec)
    domain = child(spec, "domain")
    spec["architecture"] = spec.get("architecture") or config.default_architecture
    machine = child(domain, "machine")
    machine["type"] = machine.get("type") or config.machine_type(spec["architecture"])
    _set_cpu_request(config, spec)
    _set_guest_memory(spec)
    _set_cpu_topology(spec)
    for volume in volumes(spec):
        disk = volume.get("containerDisk")
        if disk is not None and not disk.get("imagePullPolicy"):
            disk["imagePullPolicy"] = pull_policy(disk.get("image", ""))
    spec.setdefault("evictionStrategy", config.eviction_strategy)
    set_default_interface(config, spec)
    set_default_disks(spec)


def pull_policy(image: str) -> str:
    """Always for an image without a tag or with `latest`, else IfNotPresent (upstream's reading of a reference)."""
    return "Always" if image.endswith(":latest") or not set(":@") & set(image) else "IfNotPresent"


def _set_cpu_request(config: ClusterConfig, spec: Spec) -> None:
    resources = child(child(spec, "domain"), "resources")
    if quantity(limits(spec), "cpu") and not quantity(requests(spec), "cpu"):
        child(resources, "requests")["cpu"] = limits(spec)["cpu"]
    if parse(config.cpu_request) != parse(_STOCK_CPU_REQUEST) and "cpu" not in requests(spec):
        if (child(spec, "domain").get("cpu") or {}).get("dedicatedCpuPlacement"):
            return
        child(resources, "requests")["cpu"] = canonical(config.cpu_request)


def _set_guest_memory(spec: Spec) -> None:
    memory = child(child(spec, "domain"), "memory")
    if memory.get("guest") is not None:
        return
    if quantity(requests(spec), "memory"):
        memory["guest"] = canonical(requests(spec)["memory"])
    elif quantity(limits(spec), "memory"):
        memory["guest"] = canonical(limits(spec)["memory"])
    elif (memory.get("hugepages") or {}).get("pageSize"):
        try:
            memory["guest"] = canonical(memory["hugepages"]["pageSize"])
        except ValueError:
            return  # the validating hook says what is wrong with it


def _set_cpu_topology(spec: Spec) -> None:
    cpu = child(child(spec, "domain"), "cpu")
    if any(cpu.get(part) for part in ("cores", "sockets", "threads")):
        return
    sockets = Fraction(1)
    for resources in (limits(spec), requests(spec)):
        if "cpu" in resources:
            sockets = quantity(resources, "cpu")
            break
    cpu.update(cores=1, sockets=-(-sockets.numerator // sockets.denominator), threads=1)


def set_instance_defaults(config: ClusterConfig, vmi: Object) -> None:
    """All defaults of a new VMI, its first status included. Changes `vmi`. Raises DefaultsError, ValueError."""
    spec = child(vmi, "spec")
    set_spec_defaults(config, spec)
    firmware = child(child(spec, "domain"), "firmware")
    firmware["uuid"] = firmware.get("uuid") or new_uid()
    set_disks_inputs_probes(spec)
    if spec["architecture"] == "s390x":
        child(child(spec["domain"], "features"), "acpi").setdefault("enabled", False)
    set_feature_states(spec)
    set_hyperv_dependencies(spec)
    set_architecture_defaults(config, spec)
    status = child(vmi, "status")
    memory = child(spec["domain"], "memory")
    if memory.get("guest") is not None:
        kinds = ("guestAtBoot", "guestCurrent", "guestRequested")
        status["memory"] = dict.fromkeys(kinds, memory["guest"])
    if not status.get("currentCPUTopology"):
        cpu = spec["domain"]["cpu"]
        parts = {part: cpu[part] for part in ("cores", "sockets", "threads") if cpu.get(part)}
        status["currentCPUTopology"] = parts
    if spec["architecture"] != "arm64":
        set_hotplug_room(config, vmi)
    if not memory:
        del spec["domain"]["memory"]


def new_instance(config: ClusterConfig, vmi: Object, at: str | None = None) -> Object:
    """The VMI as it is stored when somebody creates `vmi`: with defaults, finalizer and phase Pending. A copy.

    `at` is the time of the phase. Raises DefaultsError or ValueError when a default cannot be had.
    """
    made = copy.deepcopy(vmi)
    set_instance_defaults(config, made)
    meta = metadata(made)
    set_pci_topology(meta, made["spec"])
    status = made["status"]
    if not config.gate("Root"):
        status["runtimeUser"] = RUNTIME_USER
    meta["finalizers"] = [*(meta.get("finalizers") or ()), VMI_FINALIZER]
    status["phase"] = PENDING
    transition = {"phase": PENDING, "phaseTransitionTimestamp": at or timestamp()}
    status["phaseTransitionTimestamps"] = [*(status.get("phaseTransitionTimestamps") or ()), transition]
    status.setdefault("guestOSInfo", {})
    return made
