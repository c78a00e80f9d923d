"""The machine as a node describes it: processors, memory, disk, identity. Read once at start."""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kumo.api import quantities
from kumo.host.containerd.archive import architecture
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.eviction.thresholds import MEMORY, NODE_BYTES, Threshold


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts; memory, disk and swap in bytes."""

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
    swap: int = 0

    def capacity(self, config: KubeletConfig) -> dict[str, str]:
        """`Node.status.capacity`."""
        pods = config.max_pods
        if config.pods_per_core:
            pods = min(pods, config.pods_per_core * self.cpus)
        found = {
            "cpu": str(self.cpus),
            "ephemeral-storage": f"{self.disk // 1024}Ki",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": f"{self.memory // 1024}Ki",
            "pods": str(pods),
        }
        return found | {name: str(resource.count) for name, resource in config.devices.items()}

    def allocatable(self, config: KubeletConfig) -> Mapping[str, str]:
        """`Node.status.allocatable`: capacity without what is reserved, and without what must stay free."""
        sizes = {"memory": self.memory // 1024 * 1024, "ephemeral-storage": self.disk // 1024 * 1024}
        kept = {name: quantities.whole(config.reserved.get(name, "0")) for name in sizes}
        for name, signal in (("memory", MEMORY), ("ephemeral-storage", NODE_BYTES)):
            if signal in config.eviction_hard:
                kept[name] += Threshold(signal, config.eviction_hard[signal]).quantity(sizes[name])
        milli = max(0, self.cpus * 1000 - quantities.milli(config.reserved.get("cpu", "0")))
        return self.capacity(config) | {
            "cpu": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m",
            "ephemeral-storage": str(max(0, sizes["ephemeral-storage"] - kept["ephemeral-storage"])),
            "memory": _kibibytes(max(0, sizes["memory"] - kept["memory"])),
        }

    def memory_of_pods(self, config: KubeletConfig) -> int:
        """Bytes that all pods together may have: what is not reserved."""
        return max(0, self.memory - quantities.whole(config.reserved.get("memory", "0")))


def _kibibytes(number: int) -> str:
    return f"{number // 1024}Ki" if number % 1024 == 0 else str(number)


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
        swap=swap_of(_read("/proc/meminfo")),
    )


def swap_of(meminfo: str) -> int:
    """Bytes of swap space, by the text of /proc/meminfo."""
    found = re.search(r"^SwapTotal:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


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
