"""How much the machine has left. Blocking: reads /proc, control groups and file systems."""

from __future__ import annotations

from pathlib import Path

from kumo.host.cgroup_usage import CgroupReader
from kumo.kubernetes.kubelet.eviction import thresholds
from kumo.kubernetes.kubelet.eviction.thresholds import Observation
from kumo.kubernetes.kubelet.stats.filesystems import file_system


def observe(cgroups: CgroupReader, directory: Path, pods: str = "", allocatable: int = 0) -> dict[str, Observation]:
    """Every signal that can be read. `pods` is the group of all pods, `allocatable` the memory that they may have.

    Images are on the file system of `directory`, as upstream has it without one for images only.
    """
    found: dict[str, Observation] = {}
    working_set, total = cgroups.working_set("/"), _total_memory()
    if working_set is not None and total:
        found[thresholds.MEMORY] = Observation(max(total - working_set, 0), total)
    used = cgroups.working_set(pods) if pods else None
    if used is not None and allocatable:
        found[thresholds.ALLOCATABLE] = Observation(max(allocatable - used, 0), allocatable)
    node = file_system(directory)
    for size, inodes in (
        (thresholds.NODE_BYTES, thresholds.NODE_INODES),
        (thresholds.IMAGE_BYTES, thresholds.IMAGE_INODES),
    ):
        if node is not None:
            found[size] = Observation(node.available, node.capacity)
            if node.inodes:  # Some file systems do not count them.
                found[inodes] = Observation(node.inodes_free, node.inodes)
    processes = _processes()
    if processes is not None:
        found[thresholds.PIDS] = processes
    return found


def _total_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def most_processes() -> int:
    """How many processes the machine may have; 0 if it does not tell."""
    try:
        return min(int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max"))
    except (OSError, ValueError):
        return 0


def _processes() -> Observation | None:
    most = most_processes()
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return None
    return Observation(max(most - running, 0), most) if most else None
