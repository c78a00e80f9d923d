"""Control groups of pods, on version 1 hierarchies and on version 2: made before the pod, removed after it.

Paths are as runtimes take them: absolute below each hierarchy's root (`/kumo-1/pod<uid>`). All functions block.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """Limits of a group. Shares as in version 1 (2 to 262144); quota in microseconds per `period`; 0 is no limit."""

    cpu_shares: int = 2
    cpu_quota: int = 0
    cpu_period: int = 100_000
    memory: int = 0
    pids: int = 0
    """How many processes there may be."""


class Cgroups:
    """The machine's hierarchies."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self.unified = (root / "cgroup.controllers").exists()

    def create(self, path: str, limits: CgroupLimits) -> None:
        """Make the group and those above it, and set its limits. Raises OSError."""
        if self.unified:
            self._create_v2(path, limits)
        else:
            self._create_v1(path, limits)

    def set_cpu(self, path: str, limits: CgroupLimits) -> None:
        """Change the group's shares and, if there is one, its quota. Raises OSError."""
        if self.unified:
            _write(self._file("cpu", path, "cpu.weight"), str(_weight(limits.cpu_shares)))
            if limits.cpu_quota:
                _write(self._file("cpu", path, "cpu.max"), f"{limits.cpu_quota} {limits.cpu_period}")
            return
        _write(self._file("cpu", path, "cpu.shares"), str(limits.cpu_shares))
        if limits.cpu_quota:
            _write(self._file("cpu", path, "cpu.cfs_period_us"), str(limits.cpu_period))
            _write(self._file("cpu", path, "cpu.cfs_quota_us"), str(limits.cpu_quota))

    def set_memory(self, path: str, limit: int) -> None:
        """Change the group's memory limit, in bytes. Raises OSError (EBUSY when more is in use)."""
        name = "memory.max" if self.unified else "memory.limit_in_bytes"
        _write(self._file("memory", path, name), str(limit))

    def counts_swap(self, path: str) -> bool:
        """Whether swap of the group can be limited apart from its memory: on version 2, if the kernel counts it."""
        return self.unified and self._file("memory", path, "memory.swap.max").exists()

    def remove(self, path: str) -> None:
        """Remove the group and all below it, bottom-up; what still has processes stays. Never raises."""
        for top in self._tops(path):
            for folder, _, _ in os.walk(top, topdown=False):
                _remove_group(Path(folder))

    def groups(self, parent: str) -> list[str]:
        """The names of the groups directly below `parent`, in any hierarchy."""
        names: set[str] = set()
        for top in self._tops(parent):
            with contextlib.suppress(OSError):
                names |= {p.name for p in top.iterdir() if p.is_dir()}
        return sorted(names)

    def usage(self, path: str) -> Mapping[str, int]:
        """What the group uses: `memory` and `working_set` in bytes, `cpu` in nanoseconds since its making, `pids`."""
        found: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError, KeyError):
            found |= self._memory(path)
        with contextlib.suppress(OSError, ValueError, KeyError):
            found["cpu"] = self._cpu(path)
        with contextlib.suppress(OSError, ValueError):
            found["pids"] = int(self._file("pids", path, "pids.current").read_text())
        return found

    def _file(self, controller: str, path: str, name: str) -> Path:
        top = self._root if self.unified else self._root / controller
        return top / path.lstrip("/") / name

    def _memory(self, path: str) -> dict[str, int]:
        if self.unified:
            used = int(self._file("memory", path, "memory.current").read_text())
            idle = _flat(self._file("memory", path, "memory.stat"))["inactive_file"]
        else:
            used = int(self._file("memory", path, "memory.usage_in_bytes").read_text())
            idle = _flat(self._file("memory", path, "memory.stat"))["total_inactive_file"]
        return {"memory": used, "working_set": max(0, used - idle)}

    def _cpu(self, path: str) -> int:
        if self.unified:
            return _flat(self._file("cpu", path, "cpu.stat"))["usage_usec"] * 1000
        return int(self._file("cpuacct", path, "cpuacct.usage").read_text())

    def _tops(self, path: str) -> list[Path]:
        inner = path.strip("/")
        if not inner:
            raise ValueError("the root group is not ours")
        bases = [self._root] if self.unified else self._hierarchies()
        return [b / inner for b in bases if (b / inner).is_dir()]

    def _hierarchies(self) -> list[Path]:
        # `cpu,cpuacct` mounted together shows under both names by symlinks: each hierarchy once.
        return [p for p in sorted(self._root.iterdir()) if p.is_dir() and not p.is_symlink()]

    def _create_v1(self, path: str, limits: CgroupLimits) -> None:
        for hierarchy in self._hierarchies():
            if hierarchy.name == "unified":  # beside version 1 the runtime makes its own there
                continue
            folder = hierarchy
            for part in path.strip("/").split("/"):
                folder = folder / part
                folder.mkdir(exist_ok=True)
                if (folder / "cpuset.cpus").exists():
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        if not (folder / name).read_text().strip():
                            _write(folder / name, (folder.parent / name).read_text().strip())
        _write(self._file("cpu", path, "cpu.shares"), str(limits.cpu_shares))
        if limits.cpu_quota:
            _write(self._file("cpu", path, "cpu.cfs_period_us"), str(limits.cpu_period))
            _write(self._file("cpu", path, "cpu.cfs_quota_us"), str(limits.cpu_quota))
        if limits.memory:
            _write(self._file("memory", path, "memory.limit_in_bytes"), str(limits.memory))
        if limits.pids:
            _write(self._file("pids", path, "pids.max"), str(limits.pids))

    def _create_v2(self, path: str, limits: CgroupLimits) -> None:
        folder = self._root
        for part in path.strip("/").split("/"):
            offered = (folder / "cgroup.controllers").read_text().split()
            handed = (folder / "cgroup.subtree_control").read_text().split()
            for controller in _V2_CONTROLLERS:
                if controller in offered and controller not in handed:
                    # One by one: a controller that can't be handed down must not keep the others.
                    with contextlib.suppress(OSError):
                        (folder / "cgroup.subtree_control").write_text(f"+{controller}")
            folder = folder / part
            folder.mkdir(exist_ok=True)
        _write(folder / "cpu.weight", str(_weight(limits.cpu_shares)))
        if limits.cpu_quota:
            _write(folder / "cpu.max", f"{limits.cpu_quota} {limits.cpu_period}")
        if limits.memory:
            _write(folder / "memory.max", str(limits.memory))
        if limits.pids:
            _write(folder / "pids.max", str(limits.pids))


def _weight(shares: int) -> int:
    return 1 + ((shares - 2) * 9999) // 262142


def _write(path: Path, text: str) -> None:
    # A controller that the machine lacks has no file: its limit can't be set.
    if path.parent.is_dir() and path.exists():
        path.write_text(text)


def _flat(path: Path) -> dict[str, int]:
    return {k: int(v) for k, v in (line.split() for line in path.read_text().splitlines())}


def _remove_group(folder: Path, patience: float = 1.0) -> None:
    # The kernel lets go of a group a moment after its last process.
    end = time.monotonic() + patience
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > end or (folder / "cgroup.procs").read_text().strip():
                return
            time.sleep(0.01)
        else:
            return
