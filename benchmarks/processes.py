"""What processes cost: CPU time and memory, read from /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_RAM = re.compile(r'"qom-type":"memory-backend-\w+"[^}]*"size":(\d+)')
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the processes so far, all threads, in seconds.

    From `schedstat` where the kernel has it (nanoseconds), else from `stat` (ticks of 10 ms).
    """
    total = 0.0
    for pid in pids:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
        except (FileNotFoundError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * _TICK
    return total


def pss(pid: int) -> int:
    """Proportional set size in bytes: a page shared by n processes counts as an n-th. 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except _GONE:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def argv(pid: int) -> list[str]:
    """The process's arguments; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except _GONE:
        return []


def children(pid: int) -> list[int]:
    """All descendants of the process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def everybody() -> list[int]:
    """Every process of the machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def guest_memory(qemu: int) -> int:
    """How much of the guest's RAM a QEMU holds, in bytes: the PSS of the mapping that is that RAM.

    QEMU maps the guest's RAM as one piece of exactly the size on its command line; pages that the guest never touched
    are not in it. Raises LookupError when there is no such mapping, rather than answer wrongly.
    """
    size = next((int(found[1]) for part in argv(qemu) if (found := _RAM.search(part))), 0) // 1024
    lines = iter(Path(f"/proc/{qemu}/smaps").read_text().splitlines())
    for line in lines:
        if line.startswith("Size:") and int(line.split()[1]) == size:
            return next(int(each.split()[1]) * 1024 for each in lines if each.startswith("Pss:"))
    raise LookupError(f"QEMU {qemu} has no mapping of {size} KiB")


def rss(pid: int) -> int:
    """Resident set size in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
