"""Defaults that depend on the processor architecture: buses, watchdog, boot loader, CPU model."""

from __future__ import annotations

from typing import Any

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, child, devices, disks

DEFAULT_CPU_MODEL = "host-model"
_WATCHDOGS = {"amd64": "i6300esb", "s390x": "diag288"}


def set_architecture_defaults(config: ClusterConfig, spec: Spec) -> None:
    """Fill in what the architecture of the instance calls for. Changes `spec`."""
    architecture = spec.get("architecture", "amd64")
    cpu = child(child(spec, "domain"), "cpu")
    if architecture == "arm64":
        cpu["model"] = cpu.get("model") or "host-passthrough"
        _uefi(child(child(spec, "domain"), "firmware"))
    _disk_bus(spec, "virtio" if architecture in ("arm64", "s390x") else "sata")
    watchdog = devices(spec).get("watchdog")
    model = _WATCHDOGS.get(architecture, "" if architecture == "arm64" else "i6300esb")
    if watchdog is not None and model:
        found = child(watchdog, model)
        found["action"] = found.get("action") or "reset"
    cpu["model"] = cpu.get("model") or config.cpu_model or DEFAULT_CPU_MODEL


def _uefi(firmware: dict[str, Any]) -> None:
    if firmware.get("bootloader") is None:
        firmware["bootloader"] = {"efi": {}}
    efi = firmware["bootloader"].get("efi")
    if efi is not None:
        efi.setdefault("secureBoot", False)


def _disk_bus(spec: Spec, bus: str) -> None:
    for disk in disks(spec):
        for kind in ("disk", "cdrom", "lun"):
            target = disk.get(kind)
            if target is not None and not target.get("bus"):
                target["bus"] = bus
