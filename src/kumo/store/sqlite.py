"""The store in a file: SQLite in WAL mode, one writing thread with group commit, every write on disk when acknowledged.

For one API server on one machine; a lock keeps a second process out.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from kumo.store import sqlite_reader
from kumo.store.base import (
    Compacted,
    Event,
    FutureRevision,
    KeyValue,
    LeaseNotFound,
    Mutation,
    NoSpace,
    Range,
    Store,
    StoreError,
    Unavailable,
)
from kumo.store.fanout import Fanout
from kumo.store.sqlite_batch import Compact, Grant, Operation, Revoke, Together, Write
from kumo.store.sqlite_file import lock, open_reader, translate
from kumo.store.sqlite_writer import Result, Writer

_CATCH_UP = 1000

T = TypeVar("T")


def _check_key(key: str) -> None:
    """Raise ValueError for what can't be a key: here, for it would spoil its whole batch."""
    if "\0" in key or not (key.isascii() or _is_utf8(key)):
        raise ValueError(f"the key {key!r} can't be stored")


def _is_utf8(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


class SqliteStore(Store):
    """The store whose database is the file `path`; its directory is made if missing."""

    exclusive = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fanout = Fanout()
        self._writer = Writer(path, self._hand_over, lambda: self._fanout.wants_previous)
        self._reading: ThreadPoolExecutor | None = None
        self._reader: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: int | None = None
        self._revision = 0
        self._last_lease = 0
        self._ttls: dict[int, float] = {}
        self._deadlines: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: list[Operation] = []
        self._running = False

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open, check (`quick_check`) and load the database. Raises Corrupted, Locked, NoSpace or Unavailable."""
        self._loop = asyncio.get_running_loop()
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        try:
            leases = await self._loop.run_in_executor(self._reading, self._open)
        except BaseException:
            self._reading.shutdown(wait=False)
            self._unlock()
            raise
        self._revision = self._writer.revision
        self._running = True
        for lease, ttl in leases.items():
            self._last_lease = max(self._last_lease, lease)
            self._arm(lease, ttl)

    def _open(self) -> dict[int, float]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = lock(self._path)
            leases = self._writer.open()
            self._reader = open_reader(self._path)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        except OSError as error:
            if error.errno == 28:
                raise NoSpace(f"no space left for the database {self._path}: free some disk space") from error
            raise Unavailable(f"the database {self._path} can't be opened: {error}") from error
        return leases

    async def stop(self) -> None:
        """Finish the writes under way, end the watches, close the file."""
        if not self._running:
            return
        self._running = False
        for handle in self._deadlines.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._flush()
        assert self._loop is not None and self._reading is not None and self._reader is not None
        await self._loop.run_in_executor(self._reading, self._reader.close)
        await asyncio.to_thread(self._writer.close)
        self._fanout.close()
        self._reading.shutdown()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- reading ----------------------------------------------------------------------------------------------------

    async def current_revision(self) -> int:
        """The revision of the last acknowledged write. Raises Unavailable when stopped."""
        if not self._running:
            raise Unavailable("the store is stopped")
        return self._revision

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key's state, as of `revision` if given. Raises Compacted, FutureRevision."""
        return await self._read(lambda c: sqlite_reader.get(c, key, revision))

    async def range(self, prefix: str, *, revision: int = 0, limit: int = 0, start_after: str = "") -> Range:
        """The keys that start with `prefix`, in order. Raises Compacted, FutureRevision."""
        return await self._read(lambda c: sqlite_reader.read_range(c, prefix, revision, limit, start_after))

    async def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        if not self._running:
            raise Unavailable("the store is stopped")
        assert self._loop is not None and self._reader is not None
        try:
            return await self._loop.run_in_executor(self._reading, read, self._reader)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    # -- writing ----------------------------------------------------------------------------------------------------

    async def put(self, key: str, value: bytes, *, expect: int | None = None, lease: int = 0) -> int:
        """Write the key; returns when it is on disk. Raises CompareFailed, LeaseNotFound, NoSpace."""
        _check_key(key)
        done = self._future()
        return await self._submit(Write(key, value, expect, lease, done), done)

    async def delete(self, key: str, *, expect: int | None = None) -> int:
        """Delete the key; returns when that is on disk. Raises CompareFailed, NoSpace."""
        done = self._future()
        return await self._submit(Write(key, None, expect, 0, done), done)

    async def commit(self, changes: Sequence[Mutation]) -> int:
        """Make all the changes or none; returns when they are on disk. Raises CompareFailed, NoSpace."""
        for change in changes:
            _check_key(change.key)
        done = self._future()
        writes = [Write(change.key, change.value, change.expect, 0, None) for change in changes]
        return await self._submit(Together(writes, done), done)

    async def compact(self, revision: int) -> None:
        """Give up states older than `revision`; the file is cleaned in small steps.

        Raises Compacted, FutureRevision.
        """
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision <= self._writer.compacted:
            raise Compacted(revision, self._writer.compacted)
        done = self._future()
        await self._submit(Compact(revision, done), done)

    def _future(self) -> asyncio.Future[int]:
        if not self._running:
            raise Unavailable("the store is stopped")
        assert self._loop is not None
        return self._loop.create_future()

    async def _submit(self, operation: Operation, done: asyncio.Future[int]) -> int:
        """Have it carried out, together with what else comes in this turn of the loop.

        A writer that took the first at once would have to wait for the interpreter's lock until the turn is over, again
        and again, and commit for a few what can be committed for all.
        """
        assert self._loop is not None
        if not self._leaving:
            self._loop.call_soon(self._flush)
        self._leaving.append(operation)
        return await done

    def _flush(self) -> None:
        leaving, self._leaving = self._leaving, []
        for operation in leaving:
            self._writer.submit(operation)

    def _hand_over(self, results: list[Result], events: list[Event], revision: int) -> None:
        """In the writer's thread: bring a batch's outcome to the event loop."""
        assert self._loop is not None
        with suppress(RuntimeError):  # The loop was closed under us: nobody waits any more.
            self._loop.call_soon_threadsafe(self._applied, results, events, revision)

    def _applied(self, results: list[Result], events: list[Event], revision: int) -> None:
        self._revision = revision
        if events:
            # Watches first: whoever is told of a write finds that the watches have been woken for it.
            self._fanout.publish(events)
        for operation, outcome in results:
            done: asyncio.Future[int] = operation.done
            if done.done():
                continue
            if isinstance(outcome, StoreError):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    # -- leases -----------------------------------------------------------------------------------------------------

    async def grant(self, ttl: float) -> int:
        """A new lease of `ttl` seconds. After a restart of the store each lease has its whole time again."""
        done = self._future()
        self._last_lease = max(self._last_lease + 1, time.time_ns() // 1000)
        lease = await self._submit(Grant(self._last_lease, ttl, done), done)
        self._arm(lease, ttl)
        return lease

    async def keepalive(self, lease: int) -> float:
        """Start the lease's time anew. Raises LeaseNotFound."""
        if lease not in self._ttls:
            raise LeaseNotFound(lease)
        self._arm(lease, self._ttls[lease])
        return self._ttls[lease]

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys. Raises LeaseNotFound."""
        self._disarm(lease)
        done = self._future()
        await self._submit(Revoke(lease, done), done)

    def _arm(self, lease: int, ttl: float) -> None:
        self._disarm(lease)
        assert self._loop is not None
        self._ttls[lease] = ttl
        self._deadlines[lease] = self._loop.call_later(ttl, self._expire, lease)

    def _disarm(self, lease: int) -> None:
        self._ttls.pop(lease, None)
        handle = self._deadlines.pop(lease, None)
        if handle is not None:
            handle.cancel()

    def _expire(self, lease: int) -> None:
        assert self._loop is not None
        ttl = self._ttls.get(lease, 1.0)
        task = self._loop.create_task(self._revoke_expired(lease, ttl))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _revoke_expired(self, lease: int, ttl: float) -> None:
        try:
            await self.revoke(lease)
        except LeaseNotFound:
            pass
        except StoreError:
            self._arm(lease, min(ttl, 10.0))  # No space now: try again later.

    # -- watching ---------------------------------------------------------------------------------------------------

    async def watch(
        self, prefix: str, from_revision: int, *, previous: bool = True, progress: bool = False
    ) -> AsyncIterator[list[Event]]:
        """The changes later than `from_revision`, in order, in batches. Raises Compacted."""
        subscription = self._fanout.subscribe(prefix, previous)
        position = from_revision
        try:
            while not subscription.closed:
                position = max(position, subscription.complete_before)
                subscription.restart()
                fresh = self._revision
                while position < fresh:
                    read, position = await self._read(
                        partial(sqlite_reader.changes, prefix=prefix, after=position, limit=_CATCH_UP)
                    )
                    if read:
                        yield read
                while not subscription.lagging:
                    taken = await subscription.take()
                    if not taken:
                        break
                    if taken[0].kv.mod_revision <= position:
                        taken = [event for event in taken if event.kv.mod_revision > position]
                    if taken:
                        position = taken[-1].kv.mod_revision
                        yield taken
        finally:
            self._fanout.unsubscribe(subscription)
