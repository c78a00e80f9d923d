"""The machine's processors, caches and NUMA nodes, as sysfs shows them.

`read` takes the folder that is mounted at /sys, so that tests bring trees of their own. Source: the kernel's
`Documentation/admin-guide/cputopology.rst`, `Documentation/ABI/stable/sysfs-devices-node`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kumo.kubernetes.kubelet.placement import cpuset

SYS = Path("/sys")
_MEMORY = re.compile(r"MemTotal:\s+(\d+) kB")
_PAGES = re.compile(r"hugepages-(\d+)kB")


class Cpu(NamedTuple):
    """Where a processor (a hardware thread) is. A core is named by the least of its threads."""

    node: int
    socket: int
    core: int
    cache: int
    """The last-level cache; the socket where the machine tells of none."""


@dataclass(frozen=True, slots=True)
class Node:
    """A NUMA node: bytes of memory, huge pages (their size in bytes -> how many), distances to all nodes."""

    memory: int
    pages: Mapping[int, int] = field(default_factory=dict)
    distances: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """One machine. Every machine has at least one node, 0."""

    cpus: Mapping[int, Cpu]
    nodes: Mapping[int, Node]

    def group(self, level: str, cpus: Iterable[int] | None = None) -> dict[int, set[int]]:
        """The processors (all, or those given) by node, socket, core or cache."""
        found: dict[int, set[int]] = {}
        for cpu in self.cpus if cpus is None else cpus:
            found.setdefault(getattr(self.cpus[cpu], level), set()).add(cpu)
        return found

    @property
    def all(self) -> frozenset[int]:
        """Every processor."""
        return frozenset(self.cpus)

    def share(self, level: str) -> int:
        """How many processors a core, socket or cache has on average, rounded down."""
        return len(self.cpus) // len({getattr(c, level) for c in self.cpus.values()}) if self.cpus else 0

    def on(self, nodes: Iterable[int], cpus: Iterable[int]) -> frozenset[int]:
        """Those of the processors that are at one of the nodes."""
        wanted = set(nodes)
        return frozenset(c for c in cpus if self.cpus[c].node in wanted)


def read(root: Path = SYS, memory: int = 0) -> Topology:
    """The machine; `memory` is the bytes of node 0 where the kernel knows of no nodes. Blocking."""
    folder = root / "devices/system"
    online = _online(folder / "cpu")
    nodes, places = _nodes(folder / "node", memory)
    cpus: dict[int, Cpu] = {}
    for cpu in sorted(online):
        about = folder / f"cpu/cpu{cpu}"
        socket = max(0, _number(about / "topology/physical_package_id"))
        threads = _set(about / "topology/thread_siblings_list") & online or {cpu}
        cpus[cpu] = Cpu(places.get(cpu, min(nodes)), socket, min(threads), _cache(about / "cache", socket))
    return Topology(cpus, nodes)


def _online(folder: Path) -> frozenset[int]:
    found = _set(folder / "online")
    return found or frozenset(int(p.name[3:]) for p in folder.glob("cpu[0-9]*") if p.name[3:].isdigit())


def _nodes(folder: Path, memory: int) -> tuple[dict[int, Node], dict[int, int]]:
    nodes: dict[int, Node] = {}
    places: dict[int, int] = {}
    for path in sorted(folder.glob("node[0-9]*"), key=lambda p: int(p.name[4:])):
        number = int(path.name[4:])
        found = _MEMORY.search(_read(path / "meminfo"))
        pages = {
            int(match[1]) * 1024: max(0, _number(size / "nr_hugepages"))
            for size in sorted((path / "hugepages").glob("hugepages-*kB"))
            if (match := _PAGES.fullmatch(size.name))
        }
        distances = tuple(int(d) for d in _read(path / "distance").split() if d.isdigit())
        nodes[number] = Node(int(found[1]) * 1024 if found else 0, pages, distances)
        places |= dict.fromkeys(_set(path / "cpulist"), number)
    return nodes or {0: Node(memory)}, places


def _cache(folder: Path, socket: int) -> int:
    """The id of the cache of level 3, or of the socket."""
    for index in sorted(folder.glob("index[0-9]*")):
        if _number(index / "level") == 3:
            known = _number(index / "id")
            return known if known >= 0 else min(_set(index / "shared_cpu_list"), default=socket)
    return socket


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int:
    try:
        return int(_read(path))
    except ValueError:
        return -1


def _set(path: Path) -> frozenset[int]:
    try:
        return cpuset.parse(_read(path))
    except ValueError:
        return frozenset()
