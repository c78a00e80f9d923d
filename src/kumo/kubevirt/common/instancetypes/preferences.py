"""A preference applied to a spec: it fills in what the spec leaves open, and overrides nothing."""

from __future__ import annotations

import copy
from typing import Any

from kumo.kubevirt.common.specs import Spec, child, devices, disks, interfaces, networks

_AUTO_ATTACH = {
    "preferredAutoattachGraphicsDevice": "autoattachGraphicsDevice",
    "preferredAutoattachMemBalloon": "autoattachMemBalloon",
    "preferredAutoattachPodInterface": "autoattachPodInterface",
    "preferredAutoattachSerialConsole": "autoattachSerialConsole",
    "preferredAutoattachInputDevice": "autoattachInputDevice",
}
_DEVICE_FIELDS = {
    "preferredUseVirtioTransitional": "useVirtioTransitional",
    "preferredBlockMultiQueue": "blockMultiQueue",
    "preferredNetworkInterfaceMultiQueue": "networkInterfaceMultiqueue",
    "preferredRng": "rng",
    "preferredTPM": "tpm",
} | _AUTO_ATTACH
_FEATURES = {"preferredApic": "apic", "preferredKvm": "kvm", "preferredPvspinlock": "pvspinlock", "preferredSmm": "smm"}


def apply_preference(preference: dict[str, Any], spec: Spec, annotations: dict[str, str]) -> None:
    """Fill `spec` (a VMI's) and `annotations` with what the preference's spec prefers; both are changed."""
    domain = child(spec, "domain")
    _cpu(preference.get("cpu") or {}, domain)
    if preference.get("devices"):
        _devices(preference["devices"], spec)
    if preference.get("features"):
        _features(preference["features"], child(domain, "features"))
    if preference.get("firmware"):
        _firmware(preference["firmware"], child(child(domain, "firmware"), "bootloader"))
    machine = (preference.get("machine") or {}).get("preferredMachineType")
    if machine and not (domain.get("machine") or {}).get("type"):
        domain["machine"] = {"type": machine}
    if preference.get("clock"):
        _clock(preference["clock"], child(domain, "clock"))
    if preference.get("preferredSubdomain") and not spec.get("subdomain"):
        spec["subdomain"] = preference["preferredSubdomain"]
    grace = preference.get("preferredTerminationGracePeriodSeconds")
    if grace is not None and spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = grace
    apply_architecture(preference, spec)
    for key, value in (preference.get("annotations") or {}).items():
        annotations.setdefault(key, value)
    if preference.get("preferredLaunchSecurity") and not domain.get("launchSecurity"):
        domain["launchSecurity"] = copy.deepcopy(preference["preferredLaunchSecurity"])


def apply_architecture(preference: dict[str, Any] | None, spec: Spec) -> None:
    """The preferred architecture, where the spec names none. Changes `spec`."""
    if preference and preference.get("preferredArchitecture") and not spec.get("architecture"):
        spec["architecture"] = preference["preferredArchitecture"]


def _cpu(preferred: dict[str, Any], domain: dict[str, Any]) -> None:
    wanted = preferred.get("preferredCPUFeatures") or ()
    if wanted:
        cpu = child(domain, "cpu")
        present = {f.get("name") for f in cpu.get("features") or ()}
        missing = [copy.deepcopy(f) for f in wanted if f.get("name") not in present]
        cpu["features"] = [*(cpu.get("features") or []), *missing]


def _devices(preferred: dict[str, Any], spec: Spec) -> None:
    found = child(child(spec, "domain"), "devices")
    for source, target in _DEVICE_FIELDS.items():
        if preferred.get(source) is not None and found.get(target) is None:
            found[target] = copy.deepcopy(preferred[source])
    if preferred.get("preferredDisableHotplug") is not None:
        found["disableHotplug"] = preferred["preferredDisableHotplug"]
    if preferred.get("preferredSoundModel") and found.get("sound") is not None:
        found["sound"].setdefault("model", preferred["preferredSoundModel"])
    if preferred.get("preferredVideoType"):
        child(found, "video").setdefault("type", preferred["preferredVideoType"])
    for disk in disks(spec):
        _disk(preferred, disk)
    _interfaces(preferred, spec)
    for device in devices(spec).get("inputs") or ():
        for source, target in (("preferredInputBus", "bus"), ("preferredInputType", "type")):
            if preferred.get(source) and not device.get(target):
                device[target] = preferred[source]
    model = preferred.get("preferredPanicDeviceModel")
    if model:
        for panic in found.setdefault("panicDevices", [{}]):
            panic.setdefault("model", model)


def _disk(preferred: dict[str, Any], disk: dict[str, Any]) -> None:
    if not any(disk.get(kind) is not None for kind in ("disk", "cdrom", "lun")):
        disk["disk"] = {}
    for kind, source in (("disk", "preferredDiskBus"), ("cdrom", "preferredCdromBus"), ("lun", "preferredLunBus")):
        target = disk.get(kind)
        if target is None:
            continue
        if preferred.get(source) and not target.get("bus"):
            target["bus"] = preferred[source]
        if kind == "disk":
            _disk_options(preferred, disk, target.get("bus", ""))
        return


def _disk_options(preferred: dict[str, Any], disk: dict[str, Any], bus: str) -> None:
    options = (("preferredDiskBlockSize", "blockSize"), ("preferredDiskCache", "cache"), ("preferredDiskIO", "io"))
    for source, target in options:
        if preferred.get(source) and not disk.get(target):
            disk[target] = copy.deepcopy(preferred[source])
    dedicated = preferred.get("preferredDiskDedicatedIoThread")
    if dedicated is not None and disk.get("dedicatedIOThread") is None and bus == "virtio":
        disk["dedicatedIOThread"] = dedicated


def _interfaces(preferred: dict[str, Any], spec: Spec) -> None:
    on_pod = {n.get("name") for n in networks(spec) if n.get("pod") is not None}
    bindings = ("bridge", "masquerade", "sriov", "passt", "passtBinding", "macvtap", "slirp", "binding")
    for interface in interfaces(spec):
        if preferred.get("preferredInterfaceModel") and not interface.get("model"):
            interface["model"] = preferred["preferredInterfaceModel"]
        unbound = all(interface.get(b) is None for b in bindings)
        if preferred.get("preferredInterfaceMasquerade") is not None and unbound and interface.get("name") in on_pod:
            interface["masquerade"] = copy.deepcopy(preferred["preferredInterfaceMasquerade"])


def _features(preferred: dict[str, Any], features: dict[str, Any]) -> None:
    if preferred.get("preferredAcpi") is not None:
        features["acpi"] = copy.deepcopy(preferred["preferredAcpi"])
    for source, target in _FEATURES.items():
        if preferred.get(source) is not None and features.get(target) is None:
            features[target] = copy.deepcopy(preferred[source])
    hyperv = preferred.get("preferredHyperv")
    if hyperv is not None:
        own = child(features, "hyperv")
        for name, value in hyperv.items():
            if own.get(name) is None:
                own[name] = copy.deepcopy(value)


def _firmware(preferred: dict[str, Any], bootloader: dict[str, Any]) -> None:
    def unset() -> bool:
        return bootloader.get("bios") is None and bootloader.get("efi") is None

    if preferred.get("preferredUseBios") and unset():
        bootloader["bios"] = {}
    serial = preferred.get("preferredUseBiosSerial")
    if serial is not None and bootloader.get("bios") is not None:
        bootloader["bios"].setdefault("useSerial", serial)
    if preferred.get("preferredEfi") is not None and unset():
        bootloader["efi"] = copy.deepcopy(preferred["preferredEfi"])
        return
    if preferred.get("preferredUseEfi") and unset():
        bootloader["efi"] = {}
    secure = preferred.get("preferredUseSecureBoot")
    if secure is not None and bootloader.get("efi") is not None:
        bootloader["efi"].setdefault("secureBoot", secure)


def _clock(preferred: dict[str, Any], clock: dict[str, Any]) -> None:
    offset = preferred.get("preferredClockOffset")
    if offset is not None and clock.get("utc") is None and clock.get("timezone") is None:
        clock.update(copy.deepcopy(offset))
    if preferred.get("preferredTimer") is not None and clock.get("timer") is None:
        clock["timer"] = copy.deepcopy(preferred["preferredTimer"])
