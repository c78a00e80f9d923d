"""What a control group uses, read from its files on version 1 hierarchies and on version 2. All functions block.

Numbers that the kernel does not give are None, never zero. Paths are those of `kumo.host.cgroups`; `/` is the machine.
Field meanings are the kernel's (`Documentation/admin-guide/cgroup-v1/`, `cgroup-v2.rst`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kumo.host.cgroups import ROOT

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_UNLIMITED = 1 << 62
"""Version 1 writes the largest number of pages for no limit."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes, but for the counts of faults and failures. `working_set` is the usage without the idle page cache."""

    usage: int
    working_set: int
    rss: int | None = None
    cache: int | None = None
    mapped: int | None = None
    swap: int | None = None
    limit: int | None = None
    peak: int | None = None
    failures: int | None = None
    faults: int | None = None
    major_faults: int | None = None


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Nanoseconds of processor time since the group was made; `periods` counts periods of its quota."""

    total: int
    user: int | None = None
    system: int | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled: int | None = None


@dataclass(frozen=True, slots=True)
class Pressure:
    """Share of time (percent, over 10, 60 and 300 seconds) and nanoseconds in all that tasks stood still."""

    average10: float
    average60: float
    average300: float
    total: int


@dataclass(frozen=True, slots=True)
class DiskTraffic:
    """What went to and from one block device: bytes and requests."""

    device: str
    read_bytes: int
    reads: int
    written_bytes: int
    writes: int


class CgroupReader:
    """Reads the machine's hierarchies below `root`."""

    def __init__(self, root: Path = ROOT, meminfo: Path = Path("/proc/meminfo")) -> None:
        self._root = str(root)
        self._meminfo = str(meminfo)
        self.unified = (root / "cgroup.controllers").exists()

    def cpu_total(self, path: str) -> int | None:
        """Nanoseconds of processor time, and no more: what is asked for most often."""
        if self.unified:
            stat = _flat(self._file("", path, "cpu.stat"))
            return stat["usage_usec"] * 1000 if "usage_usec" in stat else None
        return _number(self._file("cpuacct", path, "cpuacct.usage"))

    def cpu(self, path: str) -> CpuUse | None:
        """All about processor time."""
        total = self.cpu_total(path)
        if total is None:
            return None
        stat = _flat(self._file("" if self.unified else "cpu", path, "cpu.stat"))
        if self.unified:
            times = {name: stat.get(f"{name}_usec", 0) * 1000 for name in ("user", "system")}
            throttled = stat["throttled_usec"] * 1000 if "throttled_usec" in stat else None
        else:
            ticks = _flat(self._file("cpuacct", path, "cpuacct.stat"))
            times = {name: ticks.get(name, 0) * _TICK for name in ("user", "system")}
            throttled = stat.get("throttled_time")
        return CpuUse(
            total, times["user"], times["system"], stat.get("nr_periods"), stat.get("nr_throttled"), throttled
        )

    def working_set(self, path: str) -> int | None:
        """Bytes in use without the idle page cache, and no more: what is asked for most often."""
        found = self._usage(path)
        return None if found is None else found[1]

    def memory(self, path: str) -> MemoryUse | None:
        """All about memory."""
        found = self._usage(path)
        if found is None:
            return None
        usage, working_set, stat = found
        if self.unified:
            maximum = _text(self._file("", path, "memory.max")).strip()
            return MemoryUse(
                usage,
                working_set,
                rss=stat.get("anon"),
                cache=stat.get("file"),
                mapped=stat.get("file_mapped"),
                swap=_number(self._file("", path, "memory.swap.current")),
                limit=int(maximum) if maximum.isdigit() else None,
                peak=_number(self._file("", path, "memory.peak")),
                failures=_flat(self._file("", path, "memory.events")).get("max"),
                faults=stat.get("pgfault"),
                major_faults=stat.get("pgmajfault"),
            )
        limit = _number(self._file("memory", path, "memory.limit_in_bytes"))
        return MemoryUse(
            usage,
            working_set,
            rss=stat.get("total_rss"),
            cache=stat.get("total_cache"),
            mapped=stat.get("total_mapped_file"),
            swap=stat.get("total_swap"),
            limit=limit if limit is not None and limit < _UNLIMITED else None,
            peak=_number(self._file("memory", path, "memory.max_usage_in_bytes")),
            failures=_number(self._file("memory", path, "memory.failcnt")),
            faults=stat.get("total_pgfault"),
            major_faults=stat.get("total_pgmajfault"),
        )

    def oom_kills(self, path: str) -> int | None:
        """How many processes the kernel killed because the group had no more memory."""
        if self.unified:
            return _flat(self._file("", path, "memory.events")).get("oom_kill")
        return _flat(self._file("memory", path, "memory.oom_control")).get("oom_kill")

    def traffic(self, path: str) -> list[DiskTraffic]:
        """What the group and those below it read and wrote, by device."""
        found: dict[str, dict[str, int]] = {}
        if self.unified:
            for line in _text(self._file("", path, "io.stat")).splitlines():
                device, *parts = line.split()
                values = dict(part.split("=", 1) for part in parts if "=" in part)
                found[device] = {name: int(values.get(name) or 0) for name in ("rbytes", "rios", "wbytes", "wios")}
        else:
            for unit, file in (("bytes", "io_service_bytes"), ("ios", "io_serviced")):
                for line in _text(self._file("blkio", path, f"blkio.throttle.{file}_recursive")).splitlines():
                    words = line.split()
                    if len(words) == 3 and words[1] in ("Read", "Write"):
                        found.setdefault(words[0], {})[f"{words[1][0].lower()}{unit}"] = int(words[2])
        return [
            DiskTraffic(_device(d), v.get("rbytes", 0), v.get("rios", 0), v.get("wbytes", 0), v.get("wios", 0))
            for d, v in sorted(found.items())
        ]

    def processes(self, path: str) -> list[int]:
        """The pids in the group itself, not in those below it."""
        text = _text(self._file("" if self.unified else "memory", path, "cgroup.procs"))
        return [int(line) for line in text.split()]

    def threads(self, path: str) -> tuple[int | None, int | None]:
        """How many threads the group and those below it have, and may have (None: as many as they like)."""
        folder = "" if self.unified else "pids"
        return _number(self._file(folder, path, "pids.current")), _number(self._file(folder, path, "pids.max"))

    def pressure(self, path: str, resource: str) -> dict[str, Pressure]:
        """Pressure on `cpu`, `memory` or `io`, by `some` and `full`; empty without it (version 1 has none)."""
        found = {}
        for line in _text(self._file("", path, f"{resource}.pressure")).splitlines() if self.unified else ():
            name, _, rest = line.partition(" ")
            values = dict(part.split("=", 1) for part in rest.split())
            found[name] = Pressure(
                float(values["avg10"]), float(values["avg60"]), float(values["avg300"]), int(values["total"]) * 1000
            )
        return found

    # -- files --------------------------------------------------------------------------------------------------------

    def _file(self, controller: str, path: str, name: str) -> str:
        inner = path.strip("/")
        parts = [self._root, controller, inner, name]
        return "/".join(p for p in parts if p)

    def _usage(self, path: str) -> tuple[int, int, Mapping[str, int]] | None:
        """Usage, working set, and the group's `memory.stat`."""
        if not self.unified:
            used = _number(self._file("memory", path, "memory.usage_in_bytes"))
            stat = _flat(self._file("memory", path, "memory.stat"))
            idle = stat.get("total_inactive_file", 0)
        elif path.strip("/"):
            used = _number(self._file("", path, "memory.current"))
            stat = _flat(self._file("", path, "memory.stat"))
            idle = stat.get("inactive_file", 0)
        else:  # The root group of version 2 has no usage of its own: the machine's is meant.
            info = _kilobytes(self._meminfo)
            used = info["MemTotal"] - info["MemFree"] if "MemTotal" in info else None
            idle = info.get("Inactive(file)", 0)
            stat = _flat(self._file("", path, "memory.stat"))
        return None if used is None else (used, max(0, used - idle), stat)


def _text(path: str) -> str:
    """The file's text, empty when there is none (the group may go at any time)."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(file, 1 << 16).decode()
    except OSError:
        return ""
    finally:
        os.close(file)


def _device(numbers: str) -> str:
    """`/dev/...` of a device known by its numbers, as far as the kernel names it."""
    name = next((w[8:] for w in _text(f"/sys/dev/block/{numbers}/uevent").split() if w.startswith("DEVNAME=")), "")
    return f"/dev/{name}" if name else numbers


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _flat(path: str) -> dict[str, int]:
    """A file of lines `name number`."""
    found = {}
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            found[name] = int(value)
    return found


def _kilobytes(path: str) -> dict[str, int]:
    """`/proc/meminfo`, in bytes."""
    found = {}
    for line in _text(path).splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found
