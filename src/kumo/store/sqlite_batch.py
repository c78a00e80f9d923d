"""Group commit, the decision: what a batch of writes does to the tables, and what each writer is told. No I/O.

Writes of one batch see each other in order, as if each were a transaction of its own; they reach the disk together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kumo.store.base import LeaseNotFound, StoreError


class Version(NamedTuple):
    """What is known in memory of a live key: the revisions of its last and first change, and its lease."""

    mod: int
    made: int
    lease: int


@dataclass(slots=True)
class Write:
    """A put (`value` is bytes) or delete (None) that waits for its turn; `done` is what the engine calls back."""

    key: str
    value: bytes | None
    expect: int | None
    lease: int
    done: Any


@dataclass(slots=True)
class Together:
    """Writes of different keys that are all made, or none."""

    writes: Sequence[Write]
    done: Any

    @property
    def size(self) -> int:
        """Their values' bytes."""
        return sum(len(write.value or b"") for write in self.writes)


@dataclass(slots=True)
class Grant:
    """A lease to make."""

    lease: int
    ttl: float
    done: Any


@dataclass(slots=True)
class Revoke:
    """A lease to end, with all its keys."""

    lease: int
    done: Any


@dataclass(slots=True)
class Compact:
    """A revision below which history may go."""

    revision: int
    done: Any


Operation = Write | Together | Grant | Revoke | Compact


class Mismatch(NamedTuple):
    """A comparison failed; `current` is the version found, `value` its value if this same batch wrote it."""

    key: str
    expected: int
    current: Version | None
    value: bytes | None


class Change(NamedTuple):
    """One revision's change: `value` None for a deletion; `before` the version it ended, with its value if known."""

    revision: int
    key: str
    value: bytes | None
    version: Version
    before: Version | None
    before_value: bytes | None


@dataclass(slots=True)
class Plan:
    """What to do to the tables, and each operation's outcome (a revision, an error or a Mismatch) in order."""

    revision: int
    moves: list[tuple[int, int, int]] = field(default_factory=list)
    """Live rows that end: (mod, ended, deleted)."""
    passing: list[tuple[int, str, int, int, int, int, bytes]] = field(default_factory=list)
    """Versions that this batch both made and ended: (ended, key, mod, made, lease, deleted, value)."""
    versions: dict[str, Version | None] = field(default_factory=dict)
    """The state of every key that the batch touched."""
    values: dict[str, bytes] = field(default_factory=dict)
    """The values of the versions that the batch made and that live on."""
    grants: list[tuple[int, float]] = field(default_factory=list)
    revoked: list[int] = field(default_factory=list)
    compact: int = 0
    changes: list[Change] = field(default_factory=list)
    outcomes: list[int | StoreError | Mismatch] = field(default_factory=list)


class Planner:
    """Turns operations into a Plan over the state in memory, which it does not change.

    `index` has every live key's version, `leases` each lease's time in seconds, `leased` its keys.
    """

    def __init__(
        self,
        index: Mapping[str, Version],
        leases: Mapping[int, float],
        leased: Mapping[int, set[str]],
        revision: int,
    ) -> None:
        self._index = index
        self._leases = leases
        self._leased = leased
        self._plan = Plan(revision)
        self._granted: set[int] = set()

    def plan(self, operations: Sequence[Operation]) -> Plan:
        """The plan of the operations, in order."""
        outcomes = self._plan.outcomes
        for operation in operations:
            if isinstance(operation, Write):
                outcomes.append(self._write(operation))
            elif isinstance(operation, Together):
                outcomes.append(self._together(operation.writes))
            elif isinstance(operation, Grant):
                self._plan.grants.append((operation.lease, operation.ttl))
                self._granted.add(operation.lease)
                outcomes.append(operation.lease)
            elif isinstance(operation, Revoke):
                outcomes.append(self._revoke(operation.lease))
            else:
                self._plan.compact = max(self._plan.compact, operation.revision)
                outcomes.append(operation.revision)
        return self._plan

    def _current(self, key: str) -> Version | None:
        versions = self._plan.versions
        return versions[key] if key in versions else self._index.get(key)

    def _has_lease(self, lease: int) -> bool:
        return (lease in self._leases or lease in self._granted) and lease not in self._plan.revoked

    def _together(self, writes: Sequence[Write]) -> int | StoreError | Mismatch:
        for write in writes:
            if (mismatch := self._mismatch(write)) is not None:
                return mismatch
        for write in writes:
            self._write(write)
        return self._plan.revision

    def _mismatch(self, write: Write) -> Mismatch | None:
        current = self._current(write.key)
        if write.expect is None or write.expect == (current.mod if current else 0):
            return None
        return Mismatch(write.key, write.expect, current, self._plan.values.get(write.key))

    def _write(self, write: Write) -> int | StoreError | Mismatch:
        plan, key = self._plan, write.key
        if (mismatch := self._mismatch(write)) is not None:
            return mismatch
        current = self._current(key)
        if write.value is None:
            return self._remove(key, current) if current else 0
        if write.lease and not self._has_lease(write.lease):
            return LeaseNotFound(write.lease)
        plan.revision += 1
        version = Version(plan.revision, current.made if current else plan.revision, write.lease)
        before_value = self._end(key, current, deleted=0) if current else None
        plan.versions[key] = version
        plan.values[key] = write.value
        plan.changes.append(Change(plan.revision, key, write.value, version, current, before_value))
        return plan.revision

    def _remove(self, key: str, current: Version) -> int:
        plan = self._plan
        plan.revision += 1
        before_value = self._end(key, current, deleted=1)
        plan.versions[key] = None
        plan.values.pop(key, None)
        version = Version(plan.revision, 0, 0)
        plan.changes.append(Change(plan.revision, key, None, version, current, before_value))
        return plan.revision

    def _end(self, key: str, current: Version, deleted: int) -> bytes | None:
        """End the current version at the plan's revision; its value if this batch made it."""
        value = self._plan.values.get(key)
        if value is None:
            self._plan.moves.append((current.mod, self._plan.revision, deleted))
        else:
            self._plan.passing.append((self._plan.revision, key, *current, deleted, value))
        return value

    def _revoke(self, lease: int) -> int | StoreError:
        if not self._has_lease(lease):
            return LeaseNotFound(lease)
        self._plan.revoked.append(lease)
        keys = set(self._leased.get(lease, ())) | {k for k, v in self._plan.versions.items() if v}
        for key in sorted(keys):
            current = self._current(key)
            if current is not None and current.lease == lease:
                self._remove(key, current)
        return self._plan.revision
