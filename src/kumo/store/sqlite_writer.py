"""Group commit, the deed: the one thread that writes. Whatever waits when it comes round is one transaction.

Each step of a transaction is one statement for the whole batch, its rows in one JSON text and its values in one blob:
a statement gives up the interpreter's lock while it runs, and getting it back from a busy event loop can take longer
than the statement itself.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import msgspec

from kumo.store.base import CompareFailed, Event, KeyValue, OutcomeUnknown, StoreError, Unavailable
from kumo.store.sqlite_batch import Mismatch, Operation, Plan, Planner, Together, Version, Write
from kumo.store.sqlite_file import open_writer, translate

MAX_BATCH = 512
MAX_BATCH_BYTES = 32 << 20
"""A batch's values go to the engine as one blob, which must stay far below what it takes (a billion bytes)."""
COMPACT_STEP = 100
VACUUM_STEP = 256
MIN_FREE_PAGES = 1024
"""Pages (of 4 KiB) that the file may keep for what is to come; beyond, when it is a quarter of all, it shrinks."""

_json = msgspec.json.encode

_MOVE = """INSERT INTO history(ended, key, mod, made, lease, deleted, value)
SELECT json_extract(j.value,'$[1]'), live.key, mod, made, lease, json_extract(j.value,'$[2]'), live.value
FROM json_each(?) AS j JOIN live ON live.mod = json_extract(j.value,'$[0]')"""
_REMOVE = "DELETE FROM live WHERE mod IN (SELECT json_extract(value,'$[0]') FROM json_each(?))"
_INSERT = """INSERT INTO live(mod, key, made, lease, value)
SELECT json_extract(value,'$[0]'), json_extract(value,'$[1]'), json_extract(value,'$[2]'), json_extract(value,'$[3]'),
coalesce(substr(?2, json_extract(value,'$[4]'), json_extract(value,'$[5]')), x'') FROM json_each(?1)"""
# A write that comes alone, as most do, needs no JSON.
_MOVE_ONE = """INSERT INTO history(ended, key, mod, made, lease, deleted, value)
SELECT ?2, key, mod, made, lease, ?3, value FROM live WHERE mod = ?1"""
_REMOVE_ONE = "DELETE FROM live WHERE mod = ?"
_INSERT_ONE = "INSERT INTO live(mod, key, made, lease, value) VALUES(?,?,?,?,?)"
_PASSING = "INSERT INTO history(ended, key, mod, made, lease, deleted, value) VALUES(?,?,?,?,?,?,?)"
_VALUES = "SELECT mod, value FROM live WHERE mod IN (SELECT value FROM json_each(?))"
_TRIM = "DELETE FROM history WHERE ended IN (SELECT ended FROM history WHERE ended<=? ORDER BY ended LIMIT ?)"

Result = tuple[Operation, int | StoreError]
Applied = Callable[[list[Result], list[Event], int], None]
"""Called in the writer's thread after each batch: what to tell each writer, the events, the revision now."""


class Writer:
    """Owns the writing connection and the state in memory. `wants_previous` says whether events need earlier states."""

    def __init__(self, path: Path, applied: Applied, wants_previous: Callable[[], bool]) -> None:
        self._path = path
        self._applied = applied
        self._wants_previous = wants_previous
        self._queue: SimpleQueue[Operation | None] = SimpleQueue()
        self._index: dict[str, Version] = {}
        self._leases: dict[int, float] = {}
        self._leased: dict[int, set[str]] = {}
        self._trim_to = 0
        self._distrusted = False
        self.revision = 0
        self.compacted = 0
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def open(self) -> dict[int, float]:
        """Open the database and read what is kept in memory; the leases and their times. Blocks."""
        connection = open_writer(self._path)
        try:
            rows = connection.execute("SELECT key, mod, made, lease FROM live")
            self._index = {row[0]: Version(row[1], row[2], row[3]) for row in rows}
            self._leases = dict(connection.execute("SELECT id, ttl FROM leases").fetchall())
            found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        except sqlite3.Error as error:
            connection.close()
            raise translate(error, self._path) from error
        self.revision, self.compacted = found["revision"], found["compacted"]
        self._trim_to = self.compacted
        for key, version in self._index.items():
            if version.lease:
                self._leased.setdefault(version.lease, set()).add(key)
        self._connection = connection
        self._thread.start()
        return dict(self._leases)

    def submit(self, operation: Operation) -> None:
        """Queue an operation; from any thread."""
        self._queue.put(operation)

    def close(self) -> None:
        """Finish what is queued, then close. Blocks."""
        if self._connection is not None:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        connection, queue = self._connection, self._queue
        assert connection is not None
        running = True
        while running:
            if self._trim_to and queue.empty():
                self._trim(connection)
                continue
            batch, running = self._take()
            if batch:
                self._commit(connection, batch)
                if self._trim_to:
                    self._trim(connection)
        with suppress(sqlite3.Error):  # Else the log stays and is read again at the next start.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def _take(self) -> tuple[list[Operation], bool]:
        """What waits, as much as fits into one transaction, at least one; and whether more may come."""
        batch: list[Operation] = []
        size = 0
        while True:
            operation = self._queue.get()
            if operation is None:
                return batch, False
            batch.append(operation)
            if isinstance(operation, Write):
                size += len(operation.value or b"")
            elif isinstance(operation, Together):
                size += operation.size
            if len(batch) >= MAX_BATCH or size >= MAX_BATCH_BYTES or self._queue.empty():
                return batch, True

    def _commit(self, connection: sqlite3.Connection, batch: list[Operation]) -> None:
        if self._distrusted and (why := self._make_sure(connection)) is not None:
            self._applied([(operation, why) for operation in batch], [], self.revision)
            return
        plan = Planner(self._index, self._leases, self._leased, self.revision).plan(batch)
        try:
            before = self._write(connection, plan)
        except Exception as error:  # Whatever it is, the writers must hear of it, and this thread must go on.
            self._roll_back(connection)
            reason = self._reason(error)
            self._distrusted = isinstance(reason, OutcomeUnknown)
            self._applied([(operation, reason) for operation in batch], [], self.revision)
            return
        # The batch is on disk: nothing that goes wrong from here on may make memory forget it.
        self._remember(plan)
        outcomes = [o if not isinstance(o, Mismatch) else self._mismatch(connection, o) for o in plan.outcomes]
        self._applied(list(zip(batch, outcomes)), _events(plan, before), self.revision)

    def _write(self, connection: sqlite3.Connection, plan: Plan) -> dict[int, bytes]:
        """Carry out the plan in one transaction; the values that it replaced by their revision, if wanted."""
        before: dict[int, bytes] = {}
        if not (plan.changes or plan.grants or plan.revoked or plan.compact):
            return before
        connection.execute("BEGIN IMMEDIATE")
        if plan.moves:
            if self._wants_previous():
                before = dict(connection.execute(_VALUES, (_json([m[0] for m in plan.moves]).decode(),)).fetchall())
            _move(connection, plan)
        if plan.passing:
            connection.executemany(_PASSING, plan.passing)
        if plan.values:
            _insert(connection, plan)
        if plan.grants:
            connection.executemany("INSERT OR REPLACE INTO leases VALUES(?,?)", plan.grants)
        if plan.revoked:
            connection.executemany("DELETE FROM leases WHERE id=?", [(lease,) for lease in plan.revoked])
        if plan.compact > self.compacted:
            connection.execute("UPDATE meta SET value=? WHERE name='compacted'", (plan.compact,))
        if plan.changes:
            connection.execute("UPDATE meta SET value=? WHERE name='revision'", (plan.revision,))
        connection.execute("COMMIT")
        return before

    def _make_sure(self, connection: sqlite3.Connection) -> StoreError | None:
        """After a failed fsync: bring all that was ever acknowledged from the log into the file; the reason why not.

        A kernel that failed to write a page may take it for written, so that the next fsync succeeds without it. What
        was acknowledged had been synced before; it is written and synced once more, elsewhere, and the log is then cut
        to nothing, with the failed transaction. Until that is done nothing is written and nothing acknowledged.
        """
        try:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as error:
            return Unavailable(f"the database {self._path} is not written to since its disk failed: {error}")
        if busy:
            return Unavailable(f"the database {self._path} is being repaired after its disk failed")
        self._distrusted = False
        return None

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself.
                connection.execute("ROLLBACK")

    def _reason(self, error: Exception) -> StoreError:
        return translate(error, self._path) if isinstance(error, sqlite3.Error) else Unavailable(repr(error))

    def _mismatch(self, connection: sqlite3.Connection, found: Mismatch) -> StoreError:
        version, value = found.current, found.value
        if version is None:
            return CompareFailed(found.key, found.expected, None)
        if value is None:
            try:
                row = connection.execute(
                    "SELECT value FROM live WHERE mod=?1 UNION ALL SELECT value FROM history WHERE key=?2 AND mod=?1",
                    (version.mod, found.key),
                ).fetchone()
            except sqlite3.Error as error:
                return self._reason(error)
            value = row[0] if row else b""
        current = KeyValue(found.key, value, version.made, version.mod, version.lease)
        return CompareFailed(found.key, found.expected, current)

    def _remember(self, plan: Plan) -> None:
        for key, version in plan.versions.items():
            old = self._index.get(key)
            if old is not None and old.lease:
                self._leased.get(old.lease, set()).discard(key)
            if version is None:
                self._index.pop(key, None)
                continue
            self._index[key] = version
            if version.lease:
                self._leased.setdefault(version.lease, set()).add(key)
        self._leases.update(plan.grants)
        for lease in plan.revoked:
            self._leases.pop(lease, None)
            self._leased.pop(lease, None)
        self.revision = plan.revision
        if plan.compact > self.compacted:
            self.compacted = self._trim_to = plan.compact

    def _trim(self, connection: sqlite3.Connection) -> None:
        """Delete a little of the history that compaction has given up."""
        try:
            gone = connection.execute(_TRIM, (self._trim_to, COMPACT_STEP)).rowcount
            if gone < COMPACT_STEP and self._give_back(connection):
                return
        except sqlite3.Error:
            gone = 0  # No space, even to delete: the next compaction tries again.
        if gone < COMPACT_STEP:
            self._trim_to = 0

    @staticmethod
    def _give_back(connection: sqlite3.Connection) -> bool:
        """Give some of the file's unused pages back to the disk; whether there are many more."""
        free, pages, vacuum = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("freelist_count", "page_count", "auto_vacuum")
        )
        if not vacuum or free < MIN_FREE_PAGES or free * 4 < pages:
            return False
        connection.execute(f"PRAGMA incremental_vacuum({VACUUM_STEP})").fetchall()
        return True


def _move(connection: sqlite3.Connection, plan: Plan) -> None:
    if len(plan.moves) == 1:
        connection.execute(_MOVE_ONE, plan.moves[0])
        connection.execute(_REMOVE_ONE, plan.moves[0][:1])
        return
    moves = _json(plan.moves).decode()
    connection.execute(_MOVE, (moves,))
    connection.execute(_REMOVE, (moves,))


def _insert(connection: sqlite3.Connection, plan: Plan) -> None:
    if len(plan.values) == 1:
        for key, value in plan.values.items():
            version = plan.versions[key]
            assert version is not None
            connection.execute(_INSERT_ONE, (version.mod, key, version.made, version.lease, value))
        return
    rows, parts, offset = [], [], 1
    for key, value in plan.values.items():
        version = plan.versions[key]
        assert version is not None
        rows.append((version.mod, key, version.made, version.lease, offset, len(value)))
        parts.append(value)
        offset += len(value)
    connection.execute(_INSERT, (_json(rows).decode(), b"".join(parts)))


def _events(plan: Plan, before: dict[int, bytes]) -> list[Event]:
    events = []
    for change in plan.changes:
        previous = None
        if change.before is not None:
            value = change.before_value if change.before_value is not None else before.get(change.before.mod)
            if value is not None:
                previous = KeyValue(change.key, value, change.before.made, change.before.mod, change.before.lease)
        kv = KeyValue(change.key, change.value or b"", change.version.made, change.revision, change.version.lease)
        events.append(Event("put" if change.value is not None else "delete", kv, previous))
    return events
