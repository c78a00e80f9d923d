"""Evaluations that take long: stopped where somebody waits, considerate where nobody does, with one result."""

from __future__ import annotations

import threading

import pytest

from kumo.kubernetes.apiserver.deliberation import Deliberation, Haste
from kumo.machinery.cel import BOOL, Budget, CostExceeded, Environment, TakesLong, list_of
from kumo.machinery.cel.types import INT

pytestmark = pytest.mark.unit
NUMBERS = list(range(120))


def _program(text: str = "self.all(x, self.exists(y, y == x))"):  # type: ignore[no-untyped-def]
    return Environment({"self": list_of(INT)}).compile(text, [BOOL])


def test_patience_ends_an_evaluation_and_only_that() -> None:
    program = _program()
    whole = Budget()
    assert program.evaluate({"self": NUMBERS}, whole) is True
    cost = program.cost
    assert cost > 20_000
    with pytest.raises(TakesLong):
        program.evaluate({"self": NUMBERS}, Budget(patience=cost - 1))
    enough = Budget(patience=cost)
    assert program.evaluate({"self": NUMBERS}, enough) is True
    assert (enough.patience, enough.remaining) == (0, whole.remaining)
    # What is too expensive in any case is so for those who wait, too.
    with pytest.raises(CostExceeded, match="actual cost limit exceeded"):
        program.evaluate({"self": NUMBERS}, Budget(per_call=1_000, patience=5_000))


def test_a_considerate_evaluation_costs_the_same_and_has_the_same_limit() -> None:
    program = _program()
    plain, considerate = Budget(), Budget(considerate=True)
    assert program.evaluate({"self": NUMBERS}, plain) == program.evaluate({"self": NUMBERS}, considerate)
    assert plain.remaining == considerate.remaining
    limit = program.cost
    assert program.evaluate({"self": NUMBERS}, Budget(per_call=limit, considerate=True)) is True
    with pytest.raises(CostExceeded, match="actual cost limit exceeded"):
        program.evaluate({"self": NUMBERS}, Budget(per_call=limit - 1, considerate=True))


async def test_what_takes_long_is_judged_in_a_thread() -> None:
    program, haste, seen = _program(), Haste(), []
    deliberation = Deliberation()

    def judge(numbers: list[int]) -> bool:
        seen.append(threading.current_thread().name)
        found = program.evaluate({"self": numbers}, Budget(patience=haste.patience, considerate=haste.considerate))
        return bool(found)

    try:
        assert await deliberation.judged(haste, lambda: judge([1, 2, 3])) is True
        assert deliberation.moved == 0 and len(seen) == 1
        assert await deliberation.judged(haste, lambda: judge(NUMBERS)) is True
        assert deliberation.moved == 1 and len(seen) == 3 and seen[2].startswith("cel")
        assert await deliberation.judged(None, lambda: judge([1])) is True
        assert haste.patience is None and not haste.considerate
    finally:
        deliberation.close()
