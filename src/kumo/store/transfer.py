"""All of a store's data on its way to another one: read as of one revision, counted and summed, written whole or not.

Values travel as they are (encrypted ones stay so). What arrives has revisions later than any that the source gave out,
and no history: a watch or list from before is told to begin anew (Compacted), never answered wrongly.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kumo.store.base import Corrupted, KeyValue, NoSpace, Unavailable
from kumo.store.sqlite_file import SCHEMA_VERSION, corrupted, lock, open_writer, translate

_BATCH = 500


@dataclass(slots=True)
class Summary:
    """How much there is, and a checksum of all keys, values, and whether they have a lease."""

    count: int = 0
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, kvs: Iterable[KeyValue]) -> None:
        """Take in the next keys, in their order."""
        for kv in kvs:
            key = kv.key.encode()
            self._digest.update(b"%d %d %d " % (len(key), len(kv.value), bool(kv.lease)))
            self._digest.update(key)
            self._digest.update(kv.value)
            self.count += 1

    @property
    def checksum(self) -> str:
        """The checksum, in hexadecimal digits."""
        return self._digest.hexdigest()


@dataclass(slots=True)
class Head:
    """What a dump begins with: the source's revision, and its leases with their times in seconds."""

    revision: int
    leases: dict[int, float]


class SqliteDump:
    """The data of the SQLite store at `path`, read in one transaction; its server may be running."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise Unavailable(f"there is no database {path}")
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise translate(error, path) from error
        try:
            self.head = self._open()
        except sqlite3.Error as error:
            self.close()
            raise translate(error, path) from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> Head:
        execute = self._connection.execute
        execute("PRAGMA query_only=1")
        found = execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise corrupted(self._path, found)
        if execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            raise Corrupted(f"{self._path} is no database of this version of kumo")
        execute("BEGIN")
        meta = dict(execute("SELECT name, value FROM meta").fetchall())
        return Head(meta["revision"], dict(execute("SELECT id, ttl FROM leases").fetchall()))

    def batches(self) -> Iterator[list[KeyValue]]:
        """All keys in their order. Raises Corrupted, Unavailable."""
        try:
            rows = self._connection.execute("SELECT key, value, made, mod, lease FROM live ORDER BY key")
            while batch := rows.fetchmany(_BATCH):
                yield [KeyValue(*row) for row in batch]
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def write_sqlite(path: Path, head: Head, batches: Iterable[list[KeyValue]], *, revision: int) -> Summary:
    """Make the database `path` of the data, in place of what may be there; what was written, read again.

    Its revision becomes `revision` at least. Until the last moment `path` is as it was. Raises Locked, NoSpace,
    Unavailable, and whatever `batches` raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = lock(path)
    fresh = path.with_name(path.name + ".new")
    try:
        _remove(fresh)
        try:
            with closing(open_writer(fresh)) as connection:
                _fill(connection, head, batches, revision)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise translate(error, path) from error
        dump, written = SqliteDump(fresh), Summary()
        for batch in dump.batches():
            written.add(batch)
        dump.close()
        _remove(path)  # The log first of all: it must not be taken for the new file's.
        fresh.replace(path)
        _sync(path.parent)
        return written
    except OSError as error:
        if error.errno == 28:
            raise NoSpace(f"no space left for the database {path}: free some disk space") from error
        raise Unavailable(f"the database {path} can't be written: {error}") from error
    finally:
        with suppress(OSError):
            _remove(fresh)
        os.close(held)


def _fill(connection: sqlite3.Connection, head: Head, batches: Iterable[list[KeyValue]], revision: int) -> None:
    used: set[int] = set()
    last = max(revision, head.revision)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO leases VALUES(?,?)", head.leases.items())
    for batch in batches:
        rows = []
        for kv in batch:
            mod = kv.mod_revision
            if not 0 < mod <= head.revision or mod in used:
                # In etcd, keys may share a revision; here none may.
                mod = last = last + 1
            used.add(mod)
            rows.append((mod, kv.key, min(kv.create_revision or mod, mod), kv.lease, kv.value))
        connection.executemany("INSERT INTO live(mod, key, made, lease, value) VALUES(?,?,?,?,?)", rows)
    connection.execute("UPDATE meta SET value=?", (last,))  # revision and compacted: nothing from before is kept
    connection.execute("COMMIT")


def _remove(path: Path) -> None:
    """Remove a database with what belongs to it."""
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
