"""When a node is short of something. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from kumo.api import quantities

MEMORY, NODE_BYTES, NODE_INODES = "memory.available", "nodefs.available", "nodefs.inodesFree"
IMAGE_BYTES, IMAGE_INODES, PIDS = "imagefs.available", "imagefs.inodesFree", "pid.available"
ALLOCATABLE = "allocatableMemory.available"
"""What all pods together may have, less what they use; it has the threshold of `memory.available`."""
CONTAINER_SIGNALS = ("containerfs.available", "containerfs.inodesFree")
"""Known and without meaning of their own, as upstream: containers write where the node does."""
MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE = "MemoryPressure", "DiskPressure", "PIDPressure"
CONDITIONS = {
    MEMORY: MEMORY_PRESSURE,
    ALLOCATABLE: MEMORY_PRESSURE,
    NODE_BYTES: DISK_PRESSURE,
    NODE_INODES: DISK_PRESSURE,
    IMAGE_BYTES: DISK_PRESSURE,
    IMAGE_INODES: DISK_PRESSURE,
    PIDS: PID_PRESSURE,
}
"""Which condition of the Node each signal is about."""
RESOURCES = {
    MEMORY: "memory",
    ALLOCATABLE: "memory",
    NODE_BYTES: "ephemeral-storage",
    IMAGE_BYTES: "ephemeral-storage",
    NODE_INODES: "inodes",
    IMAGE_INODES: "inodes",
    PIDS: "pids",
}
"""What messages call it."""
DEFAULT = {MEMORY: "100Mi", NODE_BYTES: "10%", NODE_INODES: "5%", IMAGE_BYTES: "15%", IMAGE_INODES: "5%"}
"""Upstream's `evictionHard`."""
SIGNALS = (*(signal for signal in CONDITIONS if signal != ALLOCATABLE), ALLOCATABLE, *CONTAINER_SIGNALS)
"""Those that a configuration may name."""


@dataclass(frozen=True, slots=True)
class Observation:
    """How much there is of a signal's resource: bytes, inodes or processes."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """`signal` below `value`: a quantity, or a share of the capacity as `10%`.

    `grace`: for how many seconds that has to be so before anybody is evicted. `reclaim`: what there has to be beyond
    the value once it was met; a quantity or a share, empty for nothing.
    """

    signal: str
    value: str
    grace: float = 0.0
    reclaim: str = ""

    @property
    def soft(self) -> bool:
        """Whether pods get time to end."""
        return self.grace > 0

    def quantity(self, capacity: int) -> int:
        """The value as a number."""
        return _quantity(self.value, capacity)

    def is_met(self, seen: Observation, *, with_reclaim: bool = False) -> bool:
        """Whether there is less than the threshold (and what is to be won back, if that counts)."""
        more = _quantity(self.reclaim, seen.capacity) if with_reclaim and self.reclaim else 0
        return seen.available < self.quantity(seen.capacity) + more


def _quantity(value: str, capacity: int) -> int:
    if value.endswith("%"):
        return int(capacity * float(value[:-1]) / 100)
    return quantities.whole(value)


def met(
    thresholds: Iterable[Threshold], seen: Mapping[str, Observation], *, with_reclaim: bool = False
) -> list[Threshold]:
    """The thresholds that are met, memory's first, as upstream sorts them."""
    found = [t for t in thresholds if t.signal in seen and t.is_met(seen[t.signal], with_reclaim=with_reclaim)]
    return sorted(found, key=lambda t: list(CONDITIONS).index(t.signal))


@dataclass(frozen=True, slots=True)
class Pressure:
    """What is remembered from one look to the next. Times are of one monotonic clock.

    `since`: when each threshold that is met was first seen so. `held`: when each condition of the Node was last seen.
    `due`: the thresholds whose grace is over, and which are not resolved yet.
    """

    since: Mapping[Threshold, float] = field(default_factory=dict)
    held: Mapping[str, float] = field(default_factory=dict)
    due: tuple[Threshold, ...] = ()


def advance(
    thresholds: Iterable[Threshold], seen: Mapping[str, Observation], last: Pressure, now: float, transition: float
) -> Pressure:
    """What holds after a look. A condition outlasts its cause by `transition` seconds."""
    found = met(thresholds, seen)
    # What had to be acted upon is over only when as much as was wanted has been won back.
    found += [t for t in met(last.due, seen, with_reclaim=True) if t not in found]
    since = {t: last.since.get(t, now) for t in found}
    held = {kind: at for kind, at in last.held.items() if now - at < transition}
    held |= {CONDITIONS[t.signal]: now for t in found}
    due = [t for t in found if now - since[t] >= t.grace]
    return Pressure(since, held, tuple(sorted(due, key=lambda t: list(CONDITIONS).index(t.signal))))


def refused(conditions: Collection[str], *, critical: bool, best_effort: bool, tolerates_memory: bool) -> bool:
    """Whether a pod is not taken under these conditions: all of them under pressure on disk or processes, those
    without any request under pressure on memory, critical ones never."""
    if not conditions or critical:
        return False
    if set(conditions) == {MEMORY_PRESSURE}:
        return best_effort and not tolerates_memory
    return True
