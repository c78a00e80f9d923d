"""The changes of one resource on their way to the watchers.

Watchers that ask for the same thing form a group: its condition is evaluated once for each change. An event is encoded
once for each form in which somebody wants it, and shared. The ring keeps the last changes, so that a watch can start
from a revision of the recent past.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.matching import Match
from kumo.machinery.http import Sink

RING_EVENTS = 20_000
RING_BYTES = 24 << 20
WATCHER_EVENTS = 10_000
WATCHER_BYTES = 32 << 20

_LABEL = "="
"""What the name of a label begins with among the names of fields."""

FieldsOf = Callable[[Entry], Mapping[str, str]]


class View(NamedTuple):
    """The form in which a watcher wants objects. Equal keys mean equal forms; `encode` None stands for the bytes."""

    key: str = ""
    encode: Callable[[Entry], bytes] | None = None


class Change:
    """One change: what was there before, what is there now (None: nothing). Remembers the event's encoded forms."""

    __slots__ = ("_encoded", "_gone", "new", "old", "revision")

    def __init__(self, revision: int, old: Entry | None, new: Entry | None) -> None:
        self.revision = revision
        self.old = old
        self.new = new
        self._gone: Entry | None = None
        self._encoded: dict[tuple[str, str], bytes] = {}

    @property
    def size(self) -> int:
        """About how many bytes the change keeps alive."""
        return len((self.new or self.old).raw) if self.new or self.old else 0  # type: ignore[union-attr]

    def kind_for(self, match: Match, fields_of: FieldsOf) -> str:
        """What the change is to somebody who asks for `match`: ADDED, MODIFIED, DELETED, or nothing (empty).

        An object that begins to match appears, one that stops disappears (as upstream's watch cache).
        """
        if not match.selects:
            shown = (self.new or self.old).namespace if self.new or self.old else ""  # type: ignore[union-attr]
            if match.namespace and shown != match.namespace:
                return ""
            return "DELETED" if self.new is None else "ADDED" if self.old is None else "MODIFIED"
        if not match.fields and self.old is not None and self.new is not None and self.old.labels is self.new.labels:
            return "MODIFIED" if match.matches(self.new, fields_of) else ""
        before = self.old is not None and match.matches(self.old, fields_of)
        after = self.new is not None and match.matches(self.new, fields_of)
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def encoded(self, kind: str, view: View) -> bytes:
        """The event as a line of JSON."""
        found = self._encoded.get((kind, view.key))
        if found is None:
            entry = self._shown() if kind == "DELETED" else self.new
            assert entry is not None
            found = event_line(kind, view.encode(entry) if view.encode else entry.raw)
            self._encoded[(kind, view.key)] = found
        return found

    def forget_encoded(self) -> None:
        """Let go of the encoded forms: everybody has been told; who starts in the past has them made anew."""
        self._encoded.clear()

    def _shown(self) -> Entry:
        """The object that is gone, at the revision at which it went."""
        if self._gone is None:
            assert self.old is not None
            self._gone = self.old.at(self.revision)
        return self._gone


def event_line(kind: str, obj: bytes) -> bytes:
    """A watch event as a line of JSON."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), obj)


class Watcher:
    """One watch's waiting events. They are written to its sink, or taken; who is too slow is closed, and lists anew."""

    __slots__ = ("_sink", "_timer", "_waiter", "closed", "lines", "size")

    def __init__(self) -> None:
        self.closed = False
        self.lines: list[bytes] = []
        self.size = 0
        self._sink: Sink | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, line: bytes) -> None:
        """Add an event to others that wait."""
        self.lines.append(line)
        self.size += len(line)
        if len(self.lines) > WATCHER_EVENTS or self.size > WATCHER_BYTES:
            self.close()

    def attach(self, sink: Sink) -> None:
        """Write what waits, and all that comes, to the sink."""
        self._sink = sink
        if self.lines:
            self.flush(b"".join(self.lines))

    def flush(self, waiting: bytes) -> None:
        """Write `waiting`, all the events that wait, or wake who takes them or can wait until the sink is free."""
        sink = self._sink
        if sink is None or sink.blocked:
            self._wake()
            return
        self.lines.clear()
        sink.write(waiting)

    def close(self) -> None:
        """End the watch; what waits is dropped."""
        self.closed = True
        self.lines.clear()
        self._wake()

    def leave(self) -> None:
        """Nobody will take any more."""
        self._sink = None
        if self._timer is not None:
            self._timer.cancel()

    async def rest(self, timeout: float) -> None:
        """Return after about `timeout` seconds, when the watch has been closed, or when the sink is too slow."""
        if self.closed:
            return
        loop = asyncio.get_running_loop()
        if self._timer is None:
            # One timer for many waits: making and cancelling one costs as much as a delivery.
            self._timer = loop.call_later(timeout, self._time_out)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def take(self, timeout: float) -> bytes:
        """The events that wait, as bytes; waits for the first, but gives none after about `timeout` seconds."""
        if not self.lines:
            await self.rest(timeout)
        taken = self.lines[0] if len(self.lines) == 1 else b"".join(self.lines)
        self.lines.clear()
        return taken

    async def free(self) -> None:
        """Wait until the sink takes more, and write what waits. Raises ConnectionError when its client has gone."""
        sink = self._sink
        assert sink is not None
        while self.lines and not self.closed:
            await sink.drained()
            self.flush(b"".join(self.lines))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _time_out(self) -> None:
        self._timer = None
        self._wake()


class _Group:
    __slots__ = ("match", "view", "watchers")

    def __init__(self, match: Match, view: View) -> None:
        self.match = match
        self.view = view
        self.watchers: set[Watcher] = set()


class WatchHub:
    """The watchers and the last changes of one resource; `oldest` is the earliest revision a watch can start from."""

    def __init__(self, revision: int, fields_of: FieldsOf) -> None:
        self.oldest = revision
        self.sent = self.published = 0
        """How many events watchers were given, and how many changes there were."""
        self._fields_of = fields_of
        self._ring: deque[Change] = deque()
        self._bytes = 0
        self._groups: dict[tuple[Match, str], _Group] = {}
        self._everywhere: list[_Group] = []
        """The groups that must be asked about every change; the others are filed by a field's or label's only value."""
        self._by_field: dict[tuple[str, str], list[_Group]] = {}
        self._filed_fields: dict[str, int] = {}
        self._dirty: list[Watcher] = []

    def __len__(self) -> int:
        return sum(len(group.watchers) for group in self._groups.values())

    def publish(self, change: Change) -> None:
        """Remember the change and tell the watchers."""
        self.published += 1
        self._remember(change)
        if not self._groups:
            return
        for group in self._concerned(change):
            kind = change.kind_for(group.match, self._fields_of)
            if kind:
                line = change.encoded(kind, group.view)
                self.sent += len(group.watchers)
                self._offer(group, line)
        change.forget_encoded()

    def _offer(self, group: _Group, line: bytes) -> None:
        """Give the group's watchers the event. They are told once, at the end of this turn of the loop."""
        dirty = self._dirty
        if not dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        size = len(line)
        for watcher in group.watchers:
            if watcher.lines:
                watcher.offer(line)
            elif not watcher.closed:
                watcher.lines.append(line)
                watcher.size = size
                dirty.append(watcher)

    def _flush(self) -> None:
        """Write to every watcher what has come for it. Those of a group mostly get the same, put together once."""
        dirty, self._dirty = self._dirty, []
        joined, first, last, count = b"", b"", b"", 0
        for watcher in dirty:
            lines = watcher.lines
            if not lines:
                continue
            if lines[0] is not first or lines[-1] is not last or len(lines) != count:
                first, last, count = lines[0], lines[-1], len(lines)
                joined = first if count == 1 else b"".join(lines)
            watcher.flush(joined)

    def since(self, revision: int, match: Match, view: View) -> list[bytes] | None:
        """The events after `revision`, or None when they are no longer all there."""
        if revision < self.oldest:
            return None
        found = []
        for change in reversed(self._ring):
            if change.revision <= revision:
                break
            kind = change.kind_for(match, self._fields_of)
            if kind:
                found.append(change.encoded(kind, view))
        found.reverse()
        return found

    def changes(self, after: int, until: int) -> list[Change] | None:
        """The changes after the one revision, up to the other; None when they are no longer all there."""
        if after < self.oldest:
            return None
        return [change for change in self._ring if after < change.revision <= until]

    def prepend(self, changes: Iterable[Change], oldest: int) -> None:
        """Remember changes before all that are known: a watch can start from `oldest` then."""
        for change in reversed(list(changes)):
            self._ring.appendleft(change)
            self._bytes += change.size
        self.oldest = min(self.oldest, oldest)

    def join(self, watcher: Watcher, match: Match, view: View) -> None:
        """Give the watcher every change from now on."""
        group = self._groups.get((match, view.key))
        if group is None:
            group = self._groups[(match, view.key)] = _Group(match, view)
            self._file(group)
        group.watchers.add(watcher)

    def leave(self, watcher: Watcher, match: Match, view: View) -> None:
        """Forget the watcher."""
        watcher.leave()
        group = self._groups[(match, view.key)]
        group.watchers.discard(watcher)
        if not group.watchers:
            del self._groups[(match, view.key)]
            self._unfile(group)

    def close(self) -> None:
        """End every watch."""
        for group in self._groups.values():
            for watcher in group.watchers:
                watcher.close()

    def _remember(self, change: Change) -> None:
        self._ring.append(change)
        self._bytes += change.size
        while len(self._ring) > RING_EVENTS or self._bytes > RING_BYTES:
            gone = self._ring.popleft()
            self._bytes -= gone.size
            self.oldest = gone.revision

    @staticmethod
    def _filing(match: Match) -> tuple[str, str] | None:
        """The field or label, and its value, under which the group of `match` is filed."""
        for requirement in match.fields.requirements:
            if requirement.operator == "=":
                return (requirement.key, requirement.values[0])
        for requirement in match.labels.requirements:
            if requirement.operator == "=":
                return (_LABEL + requirement.key, requirement.values[0])
        return None

    def _file(self, group: _Group) -> None:
        place = self._filing(group.match)
        if place is None:
            self._everywhere.append(group)
        else:
            self._by_field.setdefault(place, []).append(group)
            self._filed_fields[place[0]] = self._filed_fields.get(place[0], 0) + 1

    def _unfile(self, group: _Group) -> None:
        place = self._filing(group.match)
        if place is None:
            self._everywhere.remove(group)
            return
        self._by_field[place].remove(group)
        if not self._by_field[place]:
            del self._by_field[place]
        self._filed_fields[place[0]] -= 1
        if not self._filed_fields[place[0]]:
            del self._filed_fields[place[0]]

    def _concerned(self, change: Change) -> list[_Group]:
        """The groups that may be concerned."""
        if not self._filed_fields:
            return self._everywhere
        found = list(self._everywhere)
        for field in self._filed_fields:
            for value in {self._value(entry, field) for entry in (change.old, change.new) if entry is not None}:
                if value is not None:
                    found += self._by_field.get((field, value), ())
        return found

    def _value(self, entry: Entry, field: str) -> str | None:
        if field[0] == _LABEL:
            return entry.labels.get(field[1:])
        if field == "metadata.name":
            return entry.name
        if field == "metadata.namespace":
            return entry.namespace
        return self._fields_of(entry).get(field, "")
