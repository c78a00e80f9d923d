"""Events that repeat, resemble each other, or come in floods."""

from __future__ import annotations

import itertools

import pytest

from kumo.machinery.event_correlation import REMEMBERED, Correlated, Correlator

pytestmark = pytest.mark.unit
_NUMBERS = itertools.count()


class Desk:
    """A correlator with a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.correlator = Correlator(lambda: self.now)

    def tell(self, message: str, *, reason: str = "R", uid: str = "u", kind: str = "Normal") -> Correlated | None:
        reference = {"apiVersion": "v1", "kind": "Pod", "namespace": "n", "name": "p", "uid": uid}
        name = f"p.{next(_NUMBERS)}"
        return self.correlator.correlate(reference, kind, reason, message, name=name, now=f"t{self.now:.0f}")


def test_machinery_events_that_repeat_are_counted() -> None:
    desk = Desk()
    first = desk.tell("m")
    desk.now += 3600
    again = desk.tell("m")
    assert first is not None and (first.count, first.first) == (1, "t100")
    assert again == Correlated(first.name, "m", 2, "t100")
    other = desk.tell("m", uid="v")
    assert other is not None and (other.count, other.name != first.name) == (1, True)


def test_machinery_events_that_resemble_each_other_are_combined() -> None:
    desk = Desk()
    told = [desk.tell(f"m{i}") for i in range(12)]
    assert [e.message for e in told[:9] if e] == [f"m{i}" for i in range(9)]
    combined = [e for e in told[9:] if e]
    assert [e.message for e in combined] == [f"(combined from similar events): m{i}" for i in (9, 10, 11)]
    assert [e.count for e in combined] == [1, 2, 3] and len({e.name for e in combined}) == 1
    other = desk.tell("m", reason="S")
    assert other is not None and other.message == "m"
    desk.now += 601
    fresh = desk.tell("m99")
    assert fresh is not None and fresh.message == "m99"


def test_machinery_events_in_floods_are_cut_off_and_still_counted() -> None:
    desk = Desk()
    told = [desk.tell("m") for _ in range(40)]
    assert [e is not None for e in told] == [True] * 25 + [False] * 15
    assert desk.tell("w", kind="Warning") is not None and desk.tell("m", uid="v") is not None
    desk.now += 301
    late, later = desk.tell("m"), desk.tell("m")
    assert late is not None and late.count == 41 and later is None
    desk.now += 1e6
    assert sum(desk.tell("m") is not None for _ in range(40)) == 25


def test_machinery_events_memory_is_bounded() -> None:
    desk = Desk()
    first = desk.tell("m", uid="first")
    for number in range(REMEMBERED):
        desk.tell("m", uid=f"u{number}")
    again = desk.tell("m", uid="first")
    assert first is not None and again is not None and again.count == 1 and again.name != first.name
