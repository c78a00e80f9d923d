"""What concurrent clients did and were told, and whether a store with etcd's contract can have told them that.

Clients record each call as it begins and as it ends; a watch from the beginning gives the log, the one order in which
everything happened. `History.check` then asks of every call whether it fits the log:

- an acknowledged write is in the log once, at its revision; one that was refused is not; one whose outcome is not
  known is there at most once; and nothing else is there;
- a write that began after another was acknowledged has a later revision (real-time order);
- a write with a precondition followed exactly the version that it named (compare-and-swap);
- a list is the state of the log at the one revision that it states; a read is of a version that was current;
- both are at least as new as every write acknowledged, and every list answered, before they began;
- a watch gave exactly the log's part since its beginning: in order, nothing twice, nothing left out, also where it was
  taken up again.

Values must be unique, so that a change in the log is known to be that write's. Times are those of the monotonic clock,
which all processes of a machine share.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Outcome = Literal["open", "ok", "refused", "unknown"]


class Change(NamedTuple):
    """One entry of the log or of a watch; `value` None for a deletion."""

    revision: int
    key: str
    value: str | None


class Version(NamedTuple):
    """A key's state as a read found it."""

    value: str
    revision: int


@dataclass(slots=True)
class Write:
    """A put, or with `value` None a delete. `expect` as for `Store.put`."""

    key: str
    value: str | None
    expect: int | None
    began: int
    ended: int = 0
    outcome: Outcome = "open"
    revision: int = 0

    def ok(self, revision: int) -> None:
        """It was acknowledged; a delete of nothing has revision 0."""
        self.ended, self.outcome, self.revision = time.monotonic_ns(), "ok", revision

    def refused(self) -> None:
        """It was refused: it has not been made and never will be."""
        self.ended, self.outcome = time.monotonic_ns(), "refused"

    def unknown(self) -> None:
        """No answer came: it may have been made, or may yet be."""
        self.outcome = "unknown"


@dataclass(slots=True)
class Read:
    """A read of one key, or with `listing` of all that start with it."""

    key: str
    listing: bool
    began: int
    ended: int = 0
    revision: int = 0
    found: dict[str, Version] = field(default_factory=dict)

    def ok(self, found: Mapping[str, Version], revision: int = 0) -> None:
        """What was there; `revision` is what a list says it was read at."""
        self.ended, self.revision, self.found = time.monotonic_ns(), revision, dict(found)


@dataclass(slots=True)
class Watch:
    """What a watch from `after` gave; one that was taken up again is one record. `until`: complete up to there."""

    name: str
    prefix: str
    after: int
    events: list[Change] = field(default_factory=list)
    until: int = 0


class History:
    """The record of one run."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.reads: list[Read] = []
        self.watches: list[Watch] = []

    def write(self, key: str, value: str | None, expect: int | None = None) -> Write:
        """A write begins."""
        found = Write(key, value, expect, time.monotonic_ns())
        self.writes.append(found)
        return found

    def read(self, key: str) -> Read:
        """A read of one key begins."""
        found = Read(key, False, time.monotonic_ns())
        self.reads.append(found)
        return found

    def list(self, prefix: str) -> Read:
        """A list begins."""
        found = Read(prefix, True, time.monotonic_ns())
        self.reads.append(found)
        return found

    def watch(self, name: str, prefix: str, after: int) -> Watch:
        """A watch begins."""
        found = Watch(name, prefix, after)
        self.watches.append(found)
        return found

    def check(self, log: Iterable[Change], before: Mapping[str, Version] | None = None) -> None:
        """Raise AssertionError with every finding. `before` is what was there when the log begins."""
        findings = list(violations(self, list(log), before or {}))
        assert not findings, "the history is impossible:\n" + "\n".join(findings[:40])

    @property
    def acknowledged(self) -> int:
        """How many writes were acknowledged."""
        return sum(write.outcome == "ok" for write in self.writes)


def violations(history: History, log: list[Change], before: Mapping[str, Version]) -> Iterable[str]:
    """Each finding in a sentence."""
    keys = [(change.revision, change.key) for change in log]
    if keys != sorted(set(keys)):
        yield "the log is not in the order of its revisions, or has something twice"
        return
    states = _States(log, before)
    yield from _writes(history.writes, log, states)
    yield from _real_time(history)
    yield from _reads(history, states)
    for watch in history.watches:
        yield from _watch(watch, log)


class _States:
    """The versions of every key, by revision; a deletion's value is None."""

    def __init__(self, log: list[Change], before: Mapping[str, Version]) -> None:
        self.versions: dict[str, list[Change]] = {}
        for key, version in before.items():
            self.versions[key] = [Change(version.revision, key, version.value)]
        for change in log:
            self.versions.setdefault(change.key, []).append(change)
        self._revisions = {key: [c.revision for c in found] for key, found in self.versions.items()}

    def at(self, key: str, revision: int) -> Change | None:
        """What the key was as of the revision; None if absent."""
        index = bisect_right(self._revisions.get(key, []), revision) - 1
        found = self.versions[key][index] if index >= 0 else None
        return found if found is not None and found.value is not None else None

    def ended(self, key: str, revision: int) -> int | None:
        """The revision that ended the version made at `revision`; None while it lives."""
        revisions = self._revisions.get(key, [])
        index = bisect_right(revisions, revision)
        return revisions[index] if index < len(revisions) else None

    def all_at(self, prefix: str, revision: int) -> dict[str, Version]:
        """Everything below the prefix as of the revision."""
        found = {key: self.at(key, revision) for key in self.versions if key.startswith(prefix)}
        return {key: Version(c.value, c.revision) for key, c in found.items() if c is not None and c.value is not None}


def _writes(writes: list[Write], log: list[Change], states: _States) -> Iterable[str]:
    by_place = {(change.revision, change.key): change for change in log}
    by_value: dict[tuple[str, str | None], list[Change]] = {}
    for change in log:
        by_value.setdefault((change.key, change.value), []).append(change)
    explained: set[tuple[int, str]] = set()
    for write in writes:
        if write.outcome != "ok":
            continue
        if not write.revision:
            if write.value is not None:
                yield f"{_shown(write)} was acknowledged without a revision"
            continue
        place = (write.revision, write.key)
        if place in explained:
            yield f"{_shown(write)} was acknowledged at a revision that another write has too"
        explained.add(place)
        if place not in by_place:
            yield f"{_shown(write)} was acknowledged and is lost"
        elif by_place[place].value != write.value:
            yield f"{_shown(write)} was acknowledged, but the log has {by_place[place].value!r} there"
        if write.value is not None and len(by_value.get((write.key, write.value), ())) > 1:
            yield f"{_shown(write)} was made twice"
        if write.expect is not None and (found := _previous(states, write.key, write.revision)) != write.expect:
            yield f"{_shown(write)} was made although the key was at {found}"
    open_ = {}
    for write in writes:
        if write.outcome in ("unknown", "open"):
            open_[(write.key, write.value)] = open_.get((write.key, write.value), 0) + 1
    refused = {(w.key, w.value) for w in writes if w.outcome == "refused" and w.value is not None}
    for change in log:
        if (change.revision, change.key) in explained:
            continue
        what = (change.key, change.value)
        if open_.get(what):
            open_[what] -= 1
        elif what in refused:
            yield f"{change} was refused, yet it is there"
        else:
            yield f"{change} is nobody's write, or was made twice"


def _previous(states: _States, key: str, revision: int) -> int:
    found = states.at(key, revision - 1)
    return found.revision if found is not None else 0


def _shown(write: Write) -> str:
    return f"the write of {write.value!r} to {write.key} at {write.revision} (expected {write.expect})"


def _real_time(history: History) -> Iterable[str]:
    """Whoever begins after an acknowledgement must come after it."""
    floors = _Floors(history)
    for write in history.writes:
        if write.outcome == "ok" and write.revision and (floor := floors.at(write.began)) >= write.revision:
            yield f"{_shown(write)} began after revision {floor} was acknowledged"


class _Floors:
    """The latest revision that anybody had been told of at a moment."""

    def __init__(self, history: History) -> None:
        told = [(w.ended, w.revision) for w in history.writes if w.outcome == "ok" and w.revision]
        told += [(r.ended, r.revision) for r in history.reads if r.ended and r.listing]
        self._times: list[int] = []
        self._highest: list[int] = []
        highest = 0
        for ended, revision in sorted(told):
            highest = max(highest, revision)
            self._times.append(ended)
            self._highest.append(highest)

    def at(self, moment: int) -> int:
        index = bisect_right(self._times, moment) - 1
        return self._highest[index] if index >= 0 else 0


def _reads(history: History, states: _States) -> Iterable[str]:
    floors = _Floors(history)
    for read in history.reads:
        if not read.ended:
            continue
        floor = floors.at(read.began)
        if read.listing:
            if read.revision < floor:
                yield f"the list of {read.key} is of revision {read.revision}, {floor} was known before it began"
            expected = states.all_at(read.key, read.revision)
            if expected != read.found:
                odd = sorted(set(expected.items()) ^ set(read.found.items()))
                yield f"the list of {read.key} at {read.revision} differs from the state then: {odd[:6]}"
            continue
        found = read.found.get(read.key)
        if found is None:
            if not _was_absent(states, read.key, floor):
                yield f"the read of {read.key} found nothing, but something was there since {floor}"
            continue
        was = states.at(read.key, found.revision)
        if was is None or (was.value, was.revision) != found:
            yield f"the read of {read.key} found {found}, which never was"
        elif (ended := states.ended(read.key, found.revision)) is not None and ended <= floor:
            yield f"the read of {read.key} found {found}, which ended at {ended}; {floor} was known before it began"


def _was_absent(states: _States, key: str, floor: int) -> bool:
    """Whether the key was absent at any time from `floor` on."""
    later = [c for c in states.versions.get(key, ()) if c.revision > floor]
    return states.at(key, floor) is None or any(change.value is None for change in later)


def _watch(watch: Watch, log: list[Change]) -> Iterable[str]:
    last = max([watch.until, *(event.revision for event in watch.events)])
    expected = [c for c in log if watch.after < c.revision <= last and c.key.startswith(watch.prefix)]
    if watch.events == expected:
        return
    given = [(event.revision, event.key) for event in watch.events]
    if given != sorted(given):
        yield f"the watch {watch.name} is out of order"
    if len(set(given)) != len(given):
        yield f"the watch {watch.name} gave something twice"
    missing = [change for change in expected if (change.revision, change.key) not in set(given)]
    if missing:
        yield f"the watch {watch.name} left out {missing[:5]}"
    wrong = [event for event in watch.events if event not in set(expected)]
    if wrong:
        yield f"the watch {watch.name} gave what never happened: {wrong[:5]}"
