"""Features, timers, disks, inputs and probes: `enabled` where only the name was given, and what depends on what."""

from __future__ import annotations

from typing import Any

from kumo.kubevirt.common.specs import Spec, child, devices, disks, domain

_HYPERV_STATES = (
    "relaxed", "vapic", "spinlocks", "vpindex", "runtime", "synic", "synictimer", "reset", "vendorid", "frequencies",
    "reenlightenment", "tlbflush", "ipi", "evmcs",
)  # fmt: skip
_SPINLOCK_RETRIES = 4096
_PROBE_MINIMA = (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3))
HYPERV_REQUIREMENTS = (
    ("evmcs", "vapic"),
    ("ipi", "vpindex"),
    ("tlbflush", "vpindex"),
    ("synictimer", "synic"),
    ("synic", "vpindex"),
)
"""Which Hyper-V feature needs which other; leaves first, so that one pass settles chains."""


def _enable(state: dict[str, Any] | None) -> None:
    if state is not None:
        state.setdefault("enabled", True)


def set_feature_states(spec: Spec) -> None:
    """Say `enabled: true` for every feature and timer that was merely named. Changes `spec`."""
    features = child(child(spec, "domain"), "features")
    child(features, "acpi").setdefault("enabled", True)
    for name in ("apic", "smm", "pvspinlock"):
        _enable(features.get(name))
    hyperv = features.get("hyperv") or {}
    for name in _HYPERV_STATES:
        _enable(hyperv.get(name))
    for parent, part in (("synictimer", "direct"), ("tlbflush", "direct"), ("tlbflush", "extended")):
        _enable((hyperv.get(parent) or {}).get(part))
    spinlocks = hyperv.get("spinlocks")
    if spinlocks is not None and spinlocks["enabled"]:
        spinlocks.setdefault("spinlocks", _SPINLOCK_RETRIES)
    timers = (domain(spec).get("clock") or {}).get("timer") or {}
    for timer in ("hpet", "kvm", "pit", "rtc", "hyperv"):
        if timers.get(timer) is not None:
            timers[timer].setdefault("present", True)


def set_disks_inputs_probes(spec: Spec) -> None:
    """Defaults of disks, inputs and probes. Changes `spec`."""
    for disk in disks(spec):
        if not any(disk.get(kind) is not None for kind in ("disk", "cdrom", "lun")):
            disk["disk"] = {}
        cdrom = disk.get("cdrom")
        if cdrom is not None:
            cdrom.setdefault("readonly", True)
            cdrom["tray"] = cdrom.get("tray") or "closed"
        _enable((disk.get("blockSize") or {}).get("matchVolume"))
    for gpu in devices(spec).get("gpus") or ():
        _enable(((gpu.get("virtualGPUOptions") or {}).get("display") or {}).get("ramFB"))
    for device in devices(spec).get("inputs") or ():
        device["bus"] = device.get("bus") or "usb"
        device["type"] = device.get("type") or "tablet"
    for kind in ("readinessProbe", "livenessProbe"):
        probe = spec.get(kind)
        if probe is not None:
            for name, least in _PROBE_MINIMA:
                if int(probe.get(name) or 0) < 1:
                    probe[name] = least


def set_hyperv_dependencies(spec: Spec) -> None:
    """Enable what an enabled Hyper-V feature needs, as far as nobody has disabled it. Changes `spec`."""
    hyperv = (domain(spec).get("features") or {}).get("hyperv")
    if hyperv is None:
        return
    for feature, needed in HYPERV_REQUIREMENTS:
        if not (hyperv.get(feature) or {}).get("enabled"):
            continue
        state = hyperv.get(needed)
        if state is None or state.get("enabled") is None:
            child(hyperv, needed)["enabled"] = True
        elif not state["enabled"]:
            return
    evmcs = hyperv.get("evmcs")
    if evmcs is not None and evmcs.get("enabled") is not False:
        _require_vmx(child(child(spec, "domain"), "cpu"))


def _require_vmx(cpu: dict[str, Any]) -> None:
    for feature in cpu.setdefault("features", []):
        if feature.get("name") == "vmx":
            feature["policy"] = "require"
            return
    cpu["features"].append({"name": "vmx", "policy": "require"})
