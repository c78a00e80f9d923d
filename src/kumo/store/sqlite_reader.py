"""Reads of the database, as of any revision that is kept. Each function is one snapshot of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from kumo.store.base import Compacted, Event, FutureRevision, KeyValue, Range

_LIVE = "SELECT key, value, made, mod, lease FROM live"
_HISTORY = "SELECT key, value, made, mod, lease FROM history"


def prefix_end(prefix: str) -> str:
    """The first string after all those that start with `prefix` (which ends in an ordinary character)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else chr(0x10FFFF)


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """One transaction; gives the store's revision and the oldest one kept."""
    connection.execute("BEGIN")
    try:
        found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        yield found["revision"], found["compacted"]
    finally:
        connection.execute("COMMIT")


def _at(revision: int, current: int, compacted: int) -> int:
    if not revision:
        return current
    if revision > current:
        raise FutureRevision(revision, current)
    if revision < compacted:
        raise Compacted(revision, compacted)
    return revision


def get(connection: sqlite3.Connection, key: str, revision: int) -> KeyValue | None:
    """The key's state as of `revision` (0: the newest). Raises Compacted, FutureRevision."""
    with _snapshot(connection) as (current, compacted):
        at = _at(revision, current, compacted)
        row = connection.execute(
            f"{_LIVE} WHERE key=?1 AND mod<=?2 UNION ALL {_HISTORY} WHERE key=?1 AND mod<=?2 AND ended>?2", (key, at)
        ).fetchone()
        return KeyValue(*row) if row else None


def read_range(connection: sqlite3.Connection, prefix: str, revision: int, limit: int, start_after: str) -> Range:
    """The keys below `prefix` as of `revision` (0: the newest). Raises Compacted, FutureRevision."""
    low, end = max(prefix, start_after), prefix_end(prefix)
    compare = ">" if start_after >= prefix and start_after else ">="
    with _snapshot(connection) as (current, compacted):
        at = _at(revision, current, compacted)
        where = f"key{compare}?1 AND key<?2 AND mod<=?3"
        if at == current:
            sql = f"{_LIVE} WHERE {where} ORDER BY key LIMIT ?4"
        else:
            sql = f"{_LIVE} WHERE {where} UNION ALL {_HISTORY} WHERE {where} AND ended>?3 ORDER BY key LIMIT ?4"
        rows = connection.execute(sql, (low, end, at, limit + 1 if limit else -1)).fetchall()
        more = bool(limit) and len(rows) > limit
        return Range([KeyValue(*row) for row in (rows[:limit] if more else rows)], at, more)


def changes(connection: sqlite3.Connection, prefix: str, after: int, limit: int) -> tuple[list[Event], int]:
    """At most about `limit` changes below `prefix` later than `after`, and the revision up to which they are complete.

    Raises Compacted.
    """
    end = prefix_end(prefix)
    with _snapshot(connection) as (current, compacted):
        if after < compacted:
            raise Compacted(after, compacted)
        until = min(current, after + limit)
        values = (after, until, prefix, end)
        puts = "mod>?1 AND mod<=?2 AND key>=?3 AND key<?4"
        made = [KeyValue(*row) for row in connection.execute(f"{_LIVE} WHERE {puts}", values)]
        # A version made after `after` also ended after it, so the scan by row id sees all that matter.
        made += [KeyValue(*row) for row in connection.execute(f"{_HISTORY} WHERE ended>?1 AND {puts}", values)]
        ended = {
            row[0]: (row[1], KeyValue(*row[2:]))
            for row in connection.execute(
                "SELECT ended, deleted, key, value, made, mod, lease FROM history "
                "WHERE ended>?1 AND ended<=?2 AND key>=?3 AND key<?4",
                values,
            )
        }
        events: dict[int, Event] = {}
        for kv in made:
            before = ended.get(kv.mod_revision)
            events[kv.mod_revision] = Event("put", kv, before[1] if before else None)
        for revision, (deleted, before_kv) in ended.items():
            if deleted:
                events[revision] = Event("delete", KeyValue(before_kv.key, b"", 0, revision), before_kv)
        return [events[revision] for revision in sorted(events)], until
