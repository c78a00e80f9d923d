"""How many requests each priority level may have in progress: its nominal share, and what levels lend each other.

Pure. Follows upstream's rules: nominal limits by shares, lower bounds by what is lendable, and a periodic adjustment
towards what each level has lately asked for, within its bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_SMALLEST_TARGET = 0.001


class Bounds(NamedTuple):
    """A level's limits, in seats: by its shares, the least that lending leaves, the most that borrowing gives."""

    nominal: int
    lower: int
    upper: int


class Want(NamedTuple):
    """What a level should get: at least `lower`, at most `upper`, in proportion to `target`."""

    target: float
    lower: float
    upper: float


def bounds(total: int, shares: int, all_shares: int, lendable: int, borrowing: int | None) -> Bounds:
    """The bounds of a level with `shares` of `all_shares` in a server of `total` seats; percents as in its spec."""
    nominal = math.ceil(total * shares / all_shares) if all_shares else 0
    lent = round(nominal * lendable / 100)
    upper = total if borrowing is None else nominal + round(nominal * borrowing / 100)
    return Bounds(nominal, nominal - lent, max(nominal, upper))


def allocate(total: int, wants: Sequence[Want]) -> list[float]:
    """Seats for each want, in order, that add up to `total` as far as the bounds allow.

    All get the same multiple of their targets unless a bound keeps them from it: the multiple is found by bisection,
    since the sum grows with it.
    """
    targets = [max(w.target, _SMALLEST_TARGET) for w in wants]

    def given(multiple: float) -> list[float]:
        return [max(w.lower, min(w.upper, multiple * t)) for w, t in zip(wants, targets, strict=True)]

    low, high = 0.0, max((w.upper / t for w, t in zip(wants, targets, strict=True)), default=0.0)
    if sum(given(high)) <= total:
        return given(high)
    for _ in range(100):
        middle = (low + high) / 2
        if sum(given(middle)) < total:
            low = middle
        else:
            high = middle
    return given(high)


class Demand(NamedTuple):
    """A level's bounds, and the seats that were wanted in the last period: the most, and smoothed over time."""

    bounds: Bounds
    high: int
    smoothed: float


def adjust(total: int, demands: Sequence[Demand]) -> list[int]:
    """The limit of each level until the next adjustment; `total` is the sum of all nominal limits."""
    floors = [max(d.bounds.lower, min(d.bounds.nominal, d.high)) for d in demands]
    lowest = sum(d.bounds.lower for d in demands)
    if total <= lowest:
        return [d.bounds.lower for d in demands]
    if total <= sum(floors):
        share = (total - lowest) / (sum(floors) - lowest)
        return [round(d.bounds.lower + (f - d.bounds.lower) * share) for d, f in zip(demands, floors, strict=True)]
    wants = [
        Want(max(floor, d.smoothed), floor, max(d.bounds.upper, floor))
        for d, floor in zip(demands, floors, strict=True)
    ]
    return [round(seats) for seats in allocate(total, wants)]
