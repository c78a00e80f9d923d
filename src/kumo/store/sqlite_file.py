"""The database file: opened, checked, and its tables made.

`live` holds each key's newest version; `history` the versions that were replaced or deleted, until compaction. The
row id of a live row is the revision that made it; that of a historic row is the revision that ended it. Both tables
are therefore appended to in order, a watch from a revision reads two tails, and compaction cuts off one head.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from kumo.store.base import Corrupted, Locked, NoSpace, OutcomeUnknown, StoreError, Unavailable

SCHEMA_VERSION = 1
_UNSYNCED = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
"""The transaction may be in the log, complete, but not on the disk."""

_TABLES = """
CREATE TABLE IF NOT EXISTS live(
  mod INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, made INTEGER NOT NULL, lease INTEGER NOT NULL,
  value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS history(
  ended INTEGER PRIMARY KEY, key TEXT NOT NULL, mod INTEGER NOT NULL, made INTEGER NOT NULL, lease INTEGER NOT NULL,
  deleted INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS history_key ON history(key, mod);
CREATE TABLE IF NOT EXISTS leases(id INTEGER PRIMARY KEY, ttl REAL NOT NULL);
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES('revision', 0), ('compacted', 0);
"""


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """The store's error for one of SQLite's."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if extended in _UNSYNCED:
        return OutcomeUnknown(
            f"the disk below the database {path} failed to keep what was written ({error}): whether the last write "
            "will be there after a restart is not known. Look after the disk; writes go on once it has taken everything"
        )
    if code == sqlite3.SQLITE_FULL:
        return NoSpace(f"no space left for the database {path}: free some disk space, writes will work again then")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return corrupted(path, str(error))
    if code == sqlite3.SQLITE_IOERR and _is_full(path):
        return NoSpace(f"no space left for the database {path}: free some disk space, writes will work again then")
    return Unavailable(f"the database {path} failed: {error}")


def corrupted(path: Path, finding: str) -> Corrupted:
    """The one message for a database that can't be trusted."""
    return Corrupted(
        f"the database {path} is corrupted ({finding}): restore it from a backup, or move it and its -wal file away "
        "to start with an empty cluster"
    )


def _is_full(path: Path) -> bool:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < 1 << 20


def lock(path: Path) -> int:
    """Take the lock that keeps a second process out; the descriptor to close in the end. Raises Locked."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Locked(f"the database {path} is in use by another process: stop that one first") from None
    return descriptor


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes, of a database that was found sound. Raises Corrupted, NoSpace, Unavailable."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise corrupted(path, found)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise Unavailable(
                f"the database {path} was written by a newer version of kumo (format {version}, this one knows "
                f"{SCHEMA_VERSION}): use that version"
            )
        if not version:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cache_size=-16384"):
            connection.execute(f"PRAGMA {pragma}")
        if version < SCHEMA_VERSION:
            connection.executescript(f"BEGIN;{_TABLES}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
            path.chmod(0o600)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, path) from error
    except StoreError:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only=1")
    connection.execute("PRAGMA cache_size=-4096")
    return connection
