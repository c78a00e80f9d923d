"""The CPU Manager's policy `static`: containers of Guaranteed pods that ask for whole cpus have them for themselves.

All others share what is left. Nothing here does I/O. Upstream: `pkg/kubelet/cm/cpumanager/policy_static.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kumo.api import quantities
from kumo.api.objects import Object, uid_of
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet.placement import cpuset
from kumo.kubernetes.kubelet.placement.hints import Hint, Wishes, masks, nodes_of, preferred
from kumo.kubernetes.kubelet.placement.options import CpuOptions
from kumo.kubernetes.kubelet.placement.picking import TooFew, packed, spread
from kumo.kubernetes.kubelet.placement.topology import Topology
from kumo.kubernetes.kubelet.resources import GUARANTEED, amount, effective, has_own_resources, qos_class
from kumo.kubernetes.kubelet.spec import Container, all_containers, init_containers

RESOURCE = "cpu"
Cpus = frozenset[int]


class Misaligned(Exception):
    """The option `full-pcpus-only` forbids it (SMTAlignmentError)."""


@dataclass(slots=True)
class CpuBook:
    """Who has which processors: the pool that all share, and by pod's uid and container those of their own."""

    shared: Cpus = frozenset()
    given: dict[str, dict[str, Cpus]] = field(default_factory=dict)

    def of(self, uid: str, container: str) -> Cpus | None:
        """A container's own processors."""
        return self.given.get(uid, {}).get(container)


def whole_cpus(pod: Object, container: Container) -> int:
    """How many processors of its own a container is due; none with resources of the pod as a whole."""
    if qos_class(pod) != GUARANTEED or has_own_resources(pod):
        return 0
    asked = quantities.parse(amount(container, "requests", RESOURCE) or amount(container, "limits", RESOURCE) or 0)
    return int(asked) if asked.denominator == 1 else 0


class StaticCpus:
    """The policy on one machine. Raises ValueError for a reservation that can't be."""

    def __init__(self, topology: Topology, reserved: int, named: Cpus, options: CpuOptions) -> None:
        """`reserved` processors are the system's: those that are `named`, or else those that come first."""
        self.topology = topology
        self._options = options
        self._reusable: tuple[str, Cpus] = ("", frozenset())
        if not named <= topology.all:
            raise ValueError(
                "[cpumanager] unable to build the reserved physical CPUs from the reserved set: "
                f"unknown CPU ID: {min(named - topology.all)}"
            )
        try:
            self.reserved = named or self._pick(topology.all, reserved)
        except TooFew:
            self.reserved = frozenset()
        if len(self.reserved) != (len(named) or reserved):
            raise ValueError(
                "[cpumanager] unable to reserve the required amount of CPUs "
                f"(size of {cpuset.text(self.reserved)} did not equal {reserved})"
            )
        cores = topology.group("core", self.reserved)
        self._reserved_cores = frozenset(c for core in cores for c in topology.group("core")[core])

    @property
    def allocatable(self) -> Cpus:
        """What containers may have for themselves."""
        return self.topology.all - self.reserved

    def begin(self, book: CpuBook) -> None:
        """Fill an empty book, or check what a former kubelet wrote. Raises ValueError."""
        if not book.shared:
            if book.given:
                raise ValueError("default cpuset cannot be empty")
            book.shared = self.allocatable if self._options.strict else self.topology.all
            return
        text = cpuset.text
        common = self.reserved & book.shared
        if self._options.strict and common:
            raise ValueError(
                f'some of strictly reserved cpus: "{text(common)}" are present in defaultCpuSet: "{text(book.shared)}"'
            )
        if not self._options.strict and common != self.reserved:
            raise ValueError(
                f'not all reserved cpus: "{text(self.reserved)}" are present in defaultCpuSet: "{text(book.shared)}"'
            )
        known = set(book.shared)
        for uid, containers in book.given.items():
            for name, cpus in containers.items():
                if cpus & book.shared:
                    raise ValueError(
                        f'pod: {uid}, container: {name} cpuset: "{text(cpus)}" overlaps with default cpuset '
                        f'"{text(book.shared)}"'
                    )
                known |= cpus
        everything = self.topology.all
        if known != (everything - self.reserved if self._options.strict else everything):
            raise ValueError(
                f'current set of available CPUs "{text(everything)}" doesn\'t match with CPUs in state "{text(known)}"'
            )

    def hints(self, book: CpuBook, pod: Object, container: Container | None) -> Wishes | None:
        """Where a container's processors (or, without one, all of the pod's) can be."""
        uid = uid_of(pod)
        wanted = effective(pod, lambda c: whole_cpus(pod, c)) if container is None else whole_cpus(pod, container)
        if not wanted:
            return None
        members = list(all_containers(pod)) if container is None else [container]
        mine: set[int] = set()
        for member in members:
            has = book.of(uid, member["name"])
            if has is not None and len(has) != whole_cpus(pod, member):
                return {RESOURCE: []}
            mine |= has or set()
        if len(mine) == wanted:
            return {RESOURCE: self._masks(mine, set(), wanted)}
        return {RESOURCE: self._masks(book.shared - self.reserved, mine | self._reuse(uid), wanted)}

    def allocate(self, book: CpuBook, pod: Object, container: Container, mask: int | None) -> bool:
        """Give a container its processors, on these NUMA nodes if there are enough; whether the book has changed.

        Raises Misaligned, TooFew.
        """
        wanted, uid, name = whole_cpus(pod, container), uid_of(pod), container["name"]
        if not wanted:
            return False
        has = book.of(uid, name)
        if has is None:
            # A pod that ran before the kubelet was restarted may well have the last free cores.
            self._check_alignment(book, wanted)
            has = self._choose(book, wanted, mask, self._reuse(uid))
            book.shared -= has
            book.given.setdefault(uid, {})[name] = has
            changed = True
        else:
            changed = False
        passes_on = container in init_containers(pod) and not is_sidecar(container)
        self._reusable = (uid, self._reuse(uid) | has if passes_on else self._reuse(uid) - has)
        return changed

    def release(self, book: CpuBook, uid: str) -> bool:
        """The pod has ended: what it had everybody may use; whether it had anything."""
        mine = book.given.pop(uid, None)
        if mine is None:
            return False
        book.shared |= frozenset().union(*mine.values())
        return True

    def _reuse(self, uid: str) -> Cpus:
        """What init containers of the pod had, which the containers after them may have."""
        return self._reusable[1] if self._reusable[0] == uid else frozenset()

    def _check_alignment(self, book: CpuBook, wanted: int) -> None:
        if not self._options.full_cores:
            return
        size = self.topology.share("core")
        if wanted % size:
            raise Misaligned(f"SMT Alignment Error: requested {wanted} cpus not multiple cpus per core = {size}")
        free = len(book.shared - self._reserved_cores)
        if wanted > free:
            raise Misaligned(
                f"SMT Alignment Error: not enough free physical CPUs: available physical CPUs = {free}, "
                f"requested CPUs = {wanted}, CPUs per core = {size}"
            )

    def _choose(self, book: CpuBook, wanted: int, mask: int | None, reusable: Cpus) -> Cpus:
        free = (book.shared - self.reserved) | reusable
        taken: Cpus = frozenset()
        if mask is not None:
            near = self.topology.on(nodes_of(mask), free)
            taken = self._pick(near, min(wanted, len(near)))
        return taken | self._pick(free - taken, wanted - len(taken))

    def _pick(self, free: Iterable[int], count: int) -> Cpus:
        if self._options.spread:
            return spread(self.topology, free, count, self.topology.share("core") if self._options.full_cores else 1)
        return packed(self.topology, free, count, by_cache=self._options.by_cache)

    def _masks(self, free: Iterable[int], reusable: Iterable[int], wanted: int) -> list[Hint]:
        everywhere = {n: len(c) for n, c in self.topology.group("node").items()}
        left = {n: len(c) for n, c in self.topology.group("node", free).items()}
        spare = {n: len(c) for n, c in self.topology.group("node", reusable).items()}
        smallest, found = len(everywhere), []
        for mask in masks(everywhere):
            nodes = nodes_of(mask)
            if sum(everywhere[n] for n in nodes) >= wanted:
                smallest = min(smallest, len(nodes))
            inside = all(n in nodes for n in spare)
            if inside and sum(left.get(n, 0) + spare.get(n, 0) for n in nodes) >= wanted:
                found.append(mask)
        return preferred(found, smallest)
