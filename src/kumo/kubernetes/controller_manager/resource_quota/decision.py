"""What a quota's status should say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kumo.api.objects import Object
from kumo.api.quota import Amount, Amounts, parse_amounts, texts
from kumo.api.quota.amounts import equal


class Outcome(NamedTuple):
    """The status to write (None when it is right), and whether it still says more than is really used."""

    status: Object | None
    settled: bool


def decide(quota: Object, counted: Mapping[str, Amount], released: Mapping[str, Amount] | None = None) -> Outcome:
    """The next status for what was `counted` of each name that can be counted; other names keep what they say.

    Admission charges a write before its object is there, so a status that says more than was counted may be right.
    With `released`, what objects have given back since, only so much is taken off; without it the count is the truth.
    """
    status = quota.get("status") or {}
    hard = parse_amounts((quota.get("spec") or {}).get("hard"))
    before = parse_amounts(status.get("used"))
    used: Amounts = {name: amount for name, amount in before.items() if name in hard}
    settled = True
    for name, there in counted.items():
        stated = before.get(name)
        if released is None or stated is None or stated.value <= there.value:
            used[name] = there
            continue
        given = released.get(name)
        left = stated if given is None else stated.minus(given)
        used[name] = left if left.value > there.value else there
        settled = settled and used[name].value == there.value
    same = equal(hard, parse_amounts(status.get("hard"))) and equal(used, before)
    complete = status.get("hard") is not None and status.get("used") is not None
    if same and complete:
        return Outcome(None, settled)
    stated_hard = dict((quota.get("spec") or {}).get("hard") or {})
    return Outcome({"hard": stated_hard, "used": texts(used)}, settled)
