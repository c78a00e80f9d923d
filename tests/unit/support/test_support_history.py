"""The history checker finds each kind of violation, planted in a history that is else in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.history import Change, History, Version, violations

pytestmark = pytest.mark.unit

LOG = [
    Change(1, "/a", "a1"),
    Change(2, "/b", "b1"),
    Change(3, "/a", "a2"),
    Change(4, "/b", None),
    Change(5, "/a", "a3"),
]


def run() -> History:
    """What two clients may have seen of LOG."""
    history = History()
    for change, expect in zip(LOG, (0, 0, 1, 2, None), strict=True):
        history.write(change.key, change.value, expect).ok(change.revision)
    history.write("/a", "a4", 3).refused()
    history.write("/c", "c1").unknown()
    history.read("/a").ok({"/a": Version("a3", 5)})
    history.read("/b").ok({})
    history.list("/").ok({"/a": Version("a3", 5)}, 5)
    watch = history.watch("w", "/", 1)
    watch.events += LOG[1:]
    watch.until = 5
    return history


def found(history: History, log: list[Change] = LOG) -> str:
    return "\n".join(violations(history, log, {}))


def test_what_can_have_been_is_accepted() -> None:
    run().check(LOG)


def test_a_write_without_an_answer_may_have_been_made() -> None:
    assert found(run(), [*LOG, Change(6, "/c", "c1")]) == ""


def _lost(h: History) -> None:
    h.write("/d", "d1").ok(9)


def _same_revision(h: History) -> None:
    h.write("/a", "a3").ok(5)


def _other_value(h: History) -> None:
    h.writes[2].value = "x"


def _wrong_precondition(h: History) -> None:
    h.writes[2].expect = 2


def _late_and_yet_earlier(h: History) -> None:
    h.writes[0].began = h.writes[4].ended + 1


def _stale_read(h: History) -> None:
    h.read("/a").ok({"/a": Version("a2", 3)})


def _read_of_nothing(h: History) -> None:
    h.read("/a").ok({})


def _invented_read(h: History) -> None:
    h.read("/a").ok({"/a": Version("a9", 5)})


def _stale_list(h: History) -> None:
    h.list("/").ok({"/a": Version("a2", 3)}, 4)


def _mixed_list(h: History) -> None:
    h.list("/").ok({"/a": Version("a3", 5), "/b": Version("b1", 2)}, 5)


def _gap(h: History) -> None:
    del h.watches[0].events[1]


def _repeated(h: History) -> None:
    h.watches[0].events.insert(2, h.watches[0].events[1])


def _swapped(h: History) -> None:
    events = h.watches[0].events
    events[0], events[1] = events[1], events[0]


def _unfinished_watch(h: History) -> None:
    del h.watches[0].events[-1]


def _invented_event(h: History) -> None:
    h.watches[0].events.append(Change(7, "/z", "z"))


PLANTED: list[tuple[Callable[[History], None], str]] = [
    (_lost, "is lost"),
    (_same_revision, "another write has too"),
    (_other_value, "but the log has"),
    (_wrong_precondition, "although the key was at 1"),
    (_late_and_yet_earlier, "began after revision 5"),
    (_stale_read, "which ended at 5"),
    (_read_of_nothing, "found nothing"),
    (_invented_read, "which never was"),
    (_stale_list, "was known before it began"),
    (_mixed_list, "differs from the state"),
    (_gap, "left out"),
    (_repeated, "something twice"),
    (_swapped, "out of order"),
    (_unfinished_watch, "left out"),
    (_invented_event, "never happened"),
]


@pytest.mark.parametrize(("plant", "finding"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_violation_is_found(plant: Callable[[History], None], finding: str) -> None:
    history = run()
    plant(history)
    assert finding in found(history)
    with pytest.raises(AssertionError, match="the history is impossible"):
        history.check(LOG)


@pytest.mark.parametrize(
    ("log", "finding"),
    [
        ([*LOG, Change(6, "/a", "a4")], "was refused, yet it is there"),
        ([*LOG, Change(6, "/x", "x")], "nobody's write"),
        ([*LOG, Change(6, "/c", "c1"), Change(7, "/c", "c1")], "made twice"),
        ([*LOG, Change(6, "/a", "a1")], "made twice"),
        ([*LOG[:2], *reversed(LOG[2:])], "not in the order"),
    ],
)
def test_a_log_that_does_not_fit_is_found(log: list[Change], finding: str) -> None:
    assert finding in found(run(), log)
