"""All rules on a VirtualMachineInstance, in upstream's order."""

from __future__ import annotations

from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.names import RESTRICTED_LABELS
from kumo.kubevirt.common.specs import Spec
from kumo.kubevirt.virt_api.validation import devices, disks, network, placement, resources, volumes
from kumo.kubevirt.virt_api.validation.causes import Causes, invalid, unsupported

_GATED_ANNOTATIONS = (
    ("kubevirt.io/ignitiondata", "ExperimentalIgnitionSupport", "ExperimentalIgnitionSupport feature gate is not"),
    ("hooks.kubevirt.io/hookSidecars", "Sidecar", "sidecar feature gate is not"),
)


def spec_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """The rules that hold for an instance's spec and for a VM's template alike; `field` is the spec's path."""
    yield from placement.name_rules(field, spec)
    yield from resources.memory_rules(field, spec, config)
    yield from resources.machine_type_rules(field, spec, config)
    yield from devices.acpi_table_rules(field, spec)
    yield from resources.cpu_rules(field, spec, config)
    yield from devices.start_rules(field, spec)
    yield from resources.realtime_rules(field, spec)
    yield from placement.affinity_rules(field, spec)
    yield from placement.spread_rules(field, spec)
    yield from network.network_rules(field, spec, config)
    yield from disks.boot_order_rules(field, spec, config)
    yield from devices.input_rules(field, spec)
    yield from devices.io_thread_rules(field, spec)
    yield from placement.probe_rules(field, spec)
    yield from disks.disk_rules(f"{field}.domain.devices.disks", spec)
    yield from devices.firmware_rules(f"{field}.domain", spec)
    yield from volumes.volume_rules(f"{field}.volumes", spec, config)
    yield from volumes.container_disk_rules(field, spec)
    yield from volumes.credential_rules(f"{field}.accessCredentials", spec)
    yield from placement.dns_rules(field, spec)
    yield from devices.eviction_rules(field, spec)
    yield from devices.host_device_rules(field, spec, config)
    yield from devices.launch_security_rules(field, spec, config)
    yield from devices.gated_rules(field, spec, config)
    yield from placement.account_rules(field, spec)


def metadata_rules(field: str, metadata: Object, config: ClusterConfig, *, own_component: bool) -> Causes:
    """Labels that are reserved, annotations behind a feature gate; `own_component`: KubeVirt itself is asking."""
    if not own_component and RESTRICTED_LABELS & set(metadata.get("labels") or ()):
        message = "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited"
        yield unsupported(f"{field}.labels", message)
    for key, gate, words in _GATED_ANNOTATIONS:
        if (metadata.get("annotations") or {}).get(key) and not config.gate(gate):
            path = f"{field}.annotations"
            yield invalid(path, f"{words} enabled in kubevirt-config, invalid entry {path}.{key}")


def creation_causes(vmi: Object, config: ClusterConfig, *, own_component: bool) -> list[Cause]:
    """Everything wrong with a new VMI that has its defaults."""
    spec = vmi.get("spec") or {}
    found = list(spec_rules("spec", spec, config))
    found += network.discontinued_rules("spec", spec)
    found += disks.volume_use_rules("spec", spec)
    found += resources.mandatory_rules("spec", spec)
    found += metadata_rules("metadata", vmi.get("metadata") or {}, config, own_component=own_component)
    found += devices.hyperv_rules("spec", spec)
    found += devices.architecture_rules("spec", spec)
    return found


def update_causes(new: Object, old: Object, *, own_component: bool) -> list[Cause]:
    """Everything wrong with a change of a VMI: its spec is KubeVirt's own business."""
    if new.get("spec") != old.get("spec"):
        if not own_component:
            return [unsupported("", "update of VMI object is restricted")]
        before, after = (o.get("spec", {}).get("domain") or {} for o in (old, new))
        if (before.get("cpu") or {}).get("maxSockets") != (after.get("cpu") or {}).get("maxSockets"):
            return [invalid("", "CPU topology maxSockets changed")]
        most = [(part.get("memory") or {}).get("maxGuest") for part in (before, after)]
        if None not in most and most[0] != most[1]:
            return [invalid("", "Memory maxGuest changed")]
    if not own_component and _reserved(new) != _reserved(old):
        message = "modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited"
        return [unsupported("", message)]
    return []


def _reserved(vmi: Object) -> dict[str, str]:
    labels = (vmi.get("metadata") or {}).get("labels") or {}
    return {k: v for k, v in labels.items() if k in RESTRICTED_LABELS}
