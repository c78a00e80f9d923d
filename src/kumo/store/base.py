"""What a store is: etcd's contract (key-value, watch and lease services of etcd v3) as an abstract base.

Keys are strings in byte order of their UTF-8 form, values are bytes. Every successful change takes the next revision,
a positive integer that rises with each change of the whole store, by one if nobody else uses the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Literal, NamedTuple


class KeyValue(NamedTuple):
    """A key's value as of `mod_revision`, the revision of its last change; `create_revision` is that of its first.

    `lease` is the id of the lease that the key lives by, 0 for none.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


class Range(NamedTuple):
    """An ordered part of the keys as of `revision`; `more` says whether the limit cut it short."""

    kvs: list[KeyValue]
    revision: int
    more: bool = False


class Event(NamedTuple):
    """One change. A put carries the new state; a delete carries the key with an empty value and the delete's revision.

    `previous` is the state before the change, when the watch asked for it and there was one. "progress" is no change:
    it tells, to a watch that asked for it, that all changes up to its revision have been given; its key is empty.
    """

    type: Literal["put", "delete", "progress"]
    kv: KeyValue
    previous: KeyValue | None = None


class Mutation(NamedTuple):
    """One change among several that are made together: `value` None deletes the key.

    `expect` as in `Store.put` and `Store.delete`.
    """

    key: str
    value: bytes | None
    expect: int | None = None


class StoreError(Exception):
    """The root of all that a store refuses."""


class CompareFailed(StoreError):
    """A write expected another revision of the key; `current` is what is there (None: nothing)."""

    def __init__(self, key: str, expected: int, current: KeyValue | None) -> None:
        found = current.mod_revision if current is not None else 0
        super().__init__(f"key {key!r} is at revision {found}, the write expected {expected}")
        self.key = key
        self.expected = expected
        self.current = current


class Compacted(StoreError):
    """The revision asked for is older than what is kept; `compact_revision` is the oldest that can be read."""

    def __init__(self, revision: int, compact_revision: int) -> None:
        super().__init__(f"revision {revision} has been compacted, the oldest one kept is {compact_revision}")
        self.revision = revision
        self.compact_revision = compact_revision


class FutureRevision(StoreError):
    """The revision asked for has not been reached yet."""

    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"revision {revision} is in the future, the store is at {current}")
        self.revision = revision
        self.current = current


class LeaseNotFound(StoreError):
    """There is no such lease: it expired or was revoked."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"lease {lease} does not exist")
        self.lease = lease


class NoSpace(StoreError):
    """The disk is full: nothing of the write was kept, reads go on. Writes work again once there is space."""


class TooLarge(StoreError):
    """The value is larger than the engine takes."""


class Denied(StoreError):
    """The engine does not let us in, or not to our keys."""


class Corrupted(StoreError):
    """The data can't be trusted; the message says which file and what to do."""


class Locked(StoreError):
    """Another process has the store open."""


class Unavailable(StoreError):
    """The store can't answer: it is stopped, or its engine failed."""


class Unreachable(Unavailable):
    """Nobody of the engine answers now. That may pass by itself, so that waiting for it makes sense."""


class OutcomeUnknown(Unavailable):
    """No answer came to a write: it may have been made, or may yet be."""


class Store(ABC):
    """A revisioned key-value store. All methods belong to the event loop that called `start`."""

    exclusive: bool = False
    """Whether this process is the only writer, so that nothing newer than its own writes and watches can exist."""

    @abstractmethod
    async def start(self) -> None:
        """Open the store. Raises Corrupted, Locked, NoSpace or Unavailable."""

    @abstractmethod
    async def stop(self) -> None:
        """Finish the writes under way, end the watches and let go of everything."""

    @abstractmethod
    async def current_revision(self) -> int:
        """A revision at least as new as any write acknowledged, by any process, before the call."""

    @abstractmethod
    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key's state, as of `revision` if given. Raises Compacted, FutureRevision."""

    @abstractmethod
    async def range(self, prefix: str, *, revision: int = 0, limit: int = 0, start_after: str = "") -> Range:
        """The keys that start with `prefix` (after `start_after`, at most `limit`), as of `revision` if given.

        Raises Compacted, FutureRevision.
        """

    @abstractmethod
    async def put(self, key: str, value: bytes, *, expect: int | None = None, lease: int = 0) -> int:
        """Write the key and return the revision, once it is on disk.

        `expect` 0: only if the key does not exist; n: only if its mod_revision is n; None: in any case.
        Raises CompareFailed, LeaseNotFound, NoSpace, TooLarge, Unavailable, OutcomeUnknown.
        """

    @abstractmethod
    async def delete(self, key: str, *, expect: int | None = None) -> int:
        """Delete the key and return the revision, once that is on disk; 0 if there was none (and `expect` is None).

        Raises CompareFailed, NoSpace, Unavailable, OutcomeUnknown.
        """

    @abstractmethod
    async def commit(self, changes: Sequence[Mutation]) -> int:
        """Make all the changes or none, and return the revision of the last one, once they are on disk.

        Each key is named once. Their revisions rise in their order, or are all the same; no reader sees a part of them.
        Raises CompareFailed for a key that is not as expected, and what `put` and `delete` raise.
        """

    @abstractmethod
    async def grant(self, ttl: float) -> int:
        """A new lease (its id, positive) that expires in `ttl` seconds unless kept alive."""

    @abstractmethod
    async def keepalive(self, lease: int) -> float:
        """Start the lease's time anew; the seconds it has. Raises LeaseNotFound."""

    @abstractmethod
    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys. Raises LeaseNotFound."""

    @abstractmethod
    def watch(
        self, prefix: str, from_revision: int, *, previous: bool = True, progress: bool = False
    ) -> AsyncIterator[list[Event]]:
        """The changes of keys that start with `prefix`, later than `from_revision`, in order, in batches.

        No change is missed or repeated, and those of one revision are in one batch. `previous` asks for the states
        before the changes, `progress` for word of revisions that changed nothing below `prefix` (an engine that is
        `exclusive` gives none). The iteration raises Compacted when the changes since `from_revision` are no longer
        kept, and ends when the store stops.
        """

    async def advance(self) -> None:  # noqa: B027 - an engine whose watches always follow has nothing to do
        """Make every watch with `progress` give something soon that is later than all acknowledged before this call.

        For an engine that others write to as well: their writes raise the revision, and no watch of ours tells.
        """

    @abstractmethod
    async def compact(self, revision: int) -> None:
        """Forget states older than `revision`: reads and watches below it raise Compacted.

        Raises Compacted if that was done already, FutureRevision.
        """
