"""What this process itself uses, as every Prometheus client tells it (`process_...`). Blocking."""

from __future__ import annotations

import os
import resource
import socket
import struct
import time
from pathlib import Path

from kumo.machinery.exposition import family


def booted() -> float:
    """When the machine started, in seconds since the epoch."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return time.time() - time.monotonic()


def started() -> float:
    """When this process started, in seconds since the epoch."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return booted() + ticks / os.sysconf("SC_CLK_TCK")


def usage(pid: int | str) -> tuple[int, int] | None:
    """Nanoseconds of processor time and bytes of memory of a process, None when it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    spent = (int(words[11]) + int(words[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return spent, pages * os.sysconf("SC_PAGE_SIZE")


def listener_of(path: Path | str) -> int | None:
    """The pid of who listens on a unix socket; None when nobody does."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
    pid: int = struct.unpack("3i", found)[0]
    return pid or None


def process_lines() -> list[str]:
    """The families."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    pages = Path("/proc/self/statm").read_text().split()
    size = os.sysconf("SC_PAGE_SIZE")
    files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    values = {
        "process_max_fds": ("gauge", "Maximum number of open file descriptors.", most),
        "process_open_fds": ("gauge", "Number of open file descriptors.", files),
        "process_resident_memory_bytes": ("gauge", "Resident memory size in bytes.", int(pages[1]) * size),
        "process_start_time_seconds": (
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            started(),
        ),
        "process_virtual_memory_bytes": ("gauge", "Virtual memory size in bytes.", int(pages[0]) * size),
    }
    cpu = "Total user and system CPU time spent in seconds."
    lines = family("counter", "process_cpu_seconds_total", cpu, (), [((), spent.ru_utime + spent.ru_stime)])
    for name, (kind, text, value) in values.items():
        lines += family(kind, name, text, (), [((), value)])
    return lines
