"""The machine as a node describes it: processors, memory, disk, identity. Read once at start."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kumo.host.containerd.archive import architecture
from kumo.kubernetes.kubelet.config import KubeletConfig


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts; memory and disk in bytes."""

    cpus: int
    memory: int
    disk: int
    hostname: str
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str
    architecture: str

    def capacity(self, config: KubeletConfig) -> dict[str, str]:
        """`Node.status.capacity`."""
        found = {
            "cpu": str(self.cpus),
            "ephemeral-storage": f"{self.disk // 1024}Ki",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": f"{self.memory // 1024}Ki",
            "pods": str(config.max_pods),
        }
        return found | {name: str(resource.count) for name, resource in config.devices.items()}

    def allocatable(self, config: KubeletConfig) -> Mapping[str, str]:
        """`Node.status.allocatable`: capacity without what is kept back."""
        milli = self.cpus * 1000 - config.reserved_cpu_milli
        return self.capacity(config) | {
            "cpu": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m",
            "ephemeral-storage": str(self.disk * 9 // 10),
            "memory": f"{max(0, self.memory - config.reserved_memory) // 1024}Ki",
        }


def look(directory: Path) -> Machine:
    """Read the facts; `directory` is on the disk that pods use."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    disk = os.statvfs(directory)
    return Machine(
        cpus=os.cpu_count() or 1,
        memory=pages,
        disk=disk.f_blocks * disk.f_frsize,
        hostname=socket.gethostname(),
        machine_id=_read("/etc/machine-id") or _read("/var/lib/dbus/machine-id"),
        system_uuid=_read("/sys/class/dmi/id/product_uuid") or _read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=_os_image(),
        architecture=architecture(),
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"
