"""Which processors a container gets: whole nodes, sockets and cores before single threads. Pure.

`packed` keeps them together, `spread` takes as many of each NUMA node (`distribute-cpus-across-numa`). Of places that
would do, the one with the least left is used. Upstream: `pkg/kubelet/cm/cpumanager/cpu_assignment.go`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from kumo.kubernetes.kubelet.placement.topology import Topology


class TooFew(Exception):
    """There are not enough processors; the text is upstream's."""


class _Picker:
    def __init__(self, topology: Topology, free: Iterable[int], count: int) -> None:
        self.topology = topology
        self.free = set(free)
        self.taken: set[int] = set()
        self.missing = count
        nodes, sockets = len(topology.group("node")), len(topology.group("socket"))
        self.levels = ("node", "socket") if sockets >= nodes else ("socket", "node")

    def take(self, cpus: Iterable[int]) -> None:
        chosen = set(cpus)
        self.taken |= chosen
        self.free -= chosen
        self.missing -= len(chosen)

    def order(self, level: str) -> list[int]:
        """The ids of what has free processors, within what contains it; those with the least left first."""
        outer, inner = self.levels
        if level == outer:
            return _fewest_first(self.topology.group(level, self.free))
        above = {inner: outer, "core": inner, "cache": "node"}[level]
        found: dict[int, None] = {}
        inside = self.topology.group(above, self.free)
        mine = self.topology.group(level, self.free)
        for place in self.order(above):
            here = self.topology.group(level, inside[place])
            found |= dict.fromkeys(_fewest_first({i: mine[i] for i in here}))
        return list(found)

    def whole(self, level: str) -> None:
        """Take whatever is wholly free and not too much."""
        everything, left = self.topology.group(level), self.topology.group(level, self.free)
        size = self.topology.share(level) if level in ("socket", "core") else 0
        for place in self.order(level):
            if len(left[place]) == (size or len(everything[place])) and self.missing >= len(everything[place]):
                self.take(everything[place])

    def caches(self) -> None:
        """Take processors that share a last-level cache: whole caches, then one that has what is missing."""
        for cache in self.order("cache"):
            if self.missing >= self.topology.share("cache"):
                self.whole("cache")
            if self.missing < 1:
                return
            self._part_of(cache)
            if self.missing < 1:
                return

    def _part_of(self, cache: int) -> None:
        threads = self.topology.share("core")
        cores = self.topology.group("core", self.topology.group("cache", self.free).get(cache, ()))
        chosen = sorted(cores)[: -(-self.missing // threads)]
        cpus = sorted(c for core in chosen for c in self.topology.group("core", self.free)[core])
        if self.missing % 2 and threads > 1 and len(cpus) > self.missing:
            cpus = cpus[:-1]
        if len(cpus) == self.missing:
            self.take(cpus)

    def singles(self) -> None:
        """Take single threads, core by core."""
        cores = self.topology.group("core", self.free)
        threads = [cpu for core in self.order("core") for cpu in sorted(cores[core])]
        self.take(threads[: max(0, self.missing)])


def _fewest_first(groups: Mapping[int, set[int]]) -> list[int]:
    return sorted(groups, key=lambda place: (len(groups[place]), place))


def packed(topology: Topology, free: Iterable[int], count: int, *, by_cache: bool = False) -> frozenset[int]:
    """`count` of the free processors, as near to each other as can be. Raises TooFew."""
    picker = _Picker(topology, free, count)
    available = len(picker.free)
    if count < 1:
        return frozenset()
    if count > available:
        raise TooFew(f"not enough cpus available to satisfy request: requested={count}, available={available}")
    for level in picker.levels:
        picker.whole(level)
        if picker.missing < 1:
            return frozenset(picker.taken)
    if by_cache:
        picker.caches()
    if picker.missing > 0:
        picker.whole("core")
    if picker.missing > 0:
        picker.singles()
    return frozenset(picker.taken)


def spread(topology: Topology, free: Iterable[int], count: int, group: int = 1) -> frozenset[int]:
    """`count` of the free processors, evenly from as few nodes as can be, in groups of `group`. Raises TooFew."""
    picker = _Picker(topology, free, count)
    if count < 1 or count > len(picker.free) or count % group:
        return packed(topology, free, count)
    left = {node: len(cpus) for node, cpus in topology.group("node", picker.free).items()}
    least, most = _sizes(topology, len(left), count, group)
    for size in range(least, most + 1):
        best = _balanced({node: left[node] for node in picker.order("node")}, size, count, group)
        if best is None:
            continue
        nodes, rest = best
        each = count // size // group * group
        for node in nodes:
            picker.take(packed(topology, topology.on([node], picker.free), each))
        while picker.missing > 0:
            before = picker.missing
            for node in rest:
                here = topology.on([node], picker.free)
                if picker.missing > 0 and len(here) >= group:
                    picker.take(packed(topology, here, group))
            if picker.missing == before:
                raise TooFew(f"accounting error, not enough CPUs allocated, remaining: {before}")
        return frozenset(picker.taken)
    return packed(topology, free, count)


def _sizes(topology: Topology, available: int, count: int, group: int) -> tuple[int, int]:
    """From how many nodes at least, and at most, the processors can come."""
    groups = -(-len(topology.cpus) // group)
    per_node = -(-groups // len(topology.group("node")))
    needed = -(-count // group)
    return -(-needed // per_node), min(needed, available)


def _balanced(
    left: Mapping[int, int], size: int, count: int, group: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The nodes that leave all nodes most alike, and those of them that give the remainder."""
    best: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    balance = math.inf
    each = count // size // group * group
    for nodes in combinations(left, size):
        if balance == 0:
            break
        if sum(left[n] // group for n in nodes) * group < count or any(left[n] < each for n in nodes):
            continue
        after = {n: amount - (each if n in nodes else 0) for n, amount in left.items()}
        found, rest = _remainder(after, [n for n in nodes if after[n] >= group], count - each * size, group)
        if found < balance:
            balance, best = found, (nodes, rest)
    return best


def _remainder(after: Mapping[int, int], able: Sequence[int], count: int, group: int) -> tuple[float, tuple[int, ...]]:
    """How unlike the nodes are at best when some of those that are able give `count` more, and which those are."""
    if not count:
        return _deviation(after.values()), ()
    best: tuple[float, tuple[int, ...]] = (math.inf, ())
    for size in range(len(able), 0, -1):
        for nodes in combinations(able, size):
            if sum(after[n] // group for n in nodes) * group < count:
                continue
            then, missing = dict(after), count
            while missing > 0:
                for node in nodes:
                    if missing > 0 and then[node] >= group:
                        then[node] -= group
                        missing -= group
            found = _deviation(then.values())
            if found < best[0]:
                best = (found, nodes)
    return best


def _deviation(values: Iterable[int]) -> float:
    """The standard deviation, to three digits, as upstream rounds it on the way."""
    known = list(values)
    mean = _rounded(sum(known) / len(known))
    return _rounded(math.sqrt(sum((v - mean) ** 2 for v in known) / len(known)))


def _rounded(value: float) -> float:
    return math.floor(value * 1000 + 0.5) / 1000
