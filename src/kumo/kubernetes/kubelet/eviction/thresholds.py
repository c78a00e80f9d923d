"""When a node is short of something. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kumo.api import quantities

MEMORY, NODE_BYTES, NODE_INODES = "memory.available", "nodefs.available", "nodefs.inodesFree"
IMAGE_BYTES, IMAGE_INODES, PIDS = "imagefs.available", "imagefs.inodesFree", "pid.available"
ALLOCATABLE = "allocatableMemory.available"
"""What all pods together may have, less what they use; it has the threshold of `memory.available`."""
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


_GIVEN = tuple(signal for signal in CONDITIONS if signal != ALLOCATABLE)


class BadThreshold(ValueError):
    """A signal that there is not, or a quantity that can't be; the message says which."""


@dataclass(frozen=True, slots=True)
class Observation:
    """How much there is of a signal's resource: bytes, inodes or processes."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """`signal` below `value`: a quantity, or a share of the capacity as `10%`."""

    signal: str
    value: str

    def quantity(self, capacity: int) -> int:
        """The value as a number."""
        if self.value.endswith("%"):
            return int(capacity * float(self.value[:-1]) / 100)
        return quantities.whole(self.value)

    def is_met(self, seen: Observation) -> bool:
        """Whether there is less than the threshold."""
        return seen.available < self.quantity(seen.capacity)


def parse(given: Mapping[str, str]) -> tuple[Threshold, ...]:
    """Thresholds from signals and values. A value of `0` or `0%` switches one off. Raises BadThreshold."""
    found = []
    for signal, value in given.items():
        if signal not in _GIVEN:
            known = ", ".join(_GIVEN)
            raise BadThreshold(f'there is no eviction signal "{signal}"; there are {known}')
        made = Threshold(signal, value)
        try:
            zero = made.quantity(100) <= 0
            if value.endswith("%") and float(value[:-1]) > 100:
                raise ValueError
        except ValueError as error:
            text = f'"{value}" is no threshold for {signal}: a quantity such as 100Mi, or a share such as 10%'
            raise BadThreshold(text) from error
        if not zero:
            found.append(made)
            if signal == MEMORY:
                found.append(Threshold(ALLOCATABLE, value))
    return tuple(found)


def met(thresholds: Iterable[Threshold], seen: Mapping[str, Observation]) -> list[Threshold]:
    """The thresholds that are met, memory's first, as upstream sorts them."""
    found = [t for t in thresholds if t.signal in seen and t.is_met(seen[t.signal])]
    return sorted(found, key=lambda t: list(CONDITIONS).index(t.signal))


def pressures(
    now: float, met_now: Iterable[Threshold], last: Mapping[str, float], transition: float
) -> dict[str, float]:
    """The Node's conditions that hold, with the time when each was last seen; they stay `transition` seconds."""
    held = {kind: at for kind, at in last.items() if now - at < transition}
    return held | {CONDITIONS[t.signal]: now for t in met_now}


def refused(conditions: Collection[str], *, critical: bool, best_effort: bool, tolerates_memory: bool) -> bool:
    """Whether a pod is not taken under these conditions: all of them under pressure on disk or processes, those
    without any request under pressure on memory, critical ones never."""
    if not conditions or critical:
        return False
    if set(conditions) == {MEMORY_PRESSURE}:
        return best_effort and not tolerates_memory
    return True
