"""Ranges of sizes and costs: from the least to the greatest, the latter never more than 64 bits hold."""

from __future__ import annotations

import math
from typing import NamedTuple

MOST = (1 << 64) - 1


class Range(NamedTuple):
    """At least `least`, at most `most`."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        """The sum."""
        return Range(min(self.least + other.least, MOST), min(self.most + other.most, MOST))

    def times(self, other: Range) -> Range:
        """The product."""
        return Range(min(self.least * other.least, MOST), min(self.most * other.most, MOST))

    def by(self, factor: float) -> Range:
        """The range times a factor, rounded up."""
        return Range(_by(self.least, factor), _by(self.most, factor))

    def union(self, other: Range) -> Range:
        """The range that covers both."""
        return Range(min(self.least, other.least), max(self.most, other.most))


def _by(value: int, factor: float) -> int:
    found = math.ceil(float(value) * factor)
    return min(found, MOST)


FREE = Range(0, 0)
ONE = Range(1, 1)
UNKNOWN = Range(0, MOST)
