"""Processor time becomes processors: the rate between two looks, for which the last one is kept for each group."""

from __future__ import annotations

from typing import NamedTuple

_SHORTEST, _LONGEST = 1.0, 600.0


class _Look(NamedTuple):
    at: float
    total: int
    rate: int | None


class Rates:
    """Nanoseconds per second by group. Between two questions less than a second apart the rate stays."""

    def __init__(self) -> None:
        self._known: dict[str, _Look] = {}

    def rate(self, group: str, at: float, total: int | None) -> int | None:
        """The rate now, at `at` (seconds) with `total` (nanoseconds); None at the first look and after a restart."""
        if total is None:
            return None
        last = self._known.get(group)
        if last is not None and at - last.at < _SHORTEST:
            return last.rate
        rate = None
        if last is not None and at - last.at <= _LONGEST and total >= last.total:
            rate = int((total - last.total) / (at - last.at))
        self._known[group] = _Look(at, total, rate)
        return rate

    def keep(self, groups: set[str]) -> None:
        """Forget all groups but these."""
        for group in self._known.keys() - groups:
            del self._known[group]
