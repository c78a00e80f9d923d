"""The figures and their table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["s", "ms", "us", "MiB", "%"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: the median of `values`. `bar` is the number to hold, None where there is none."""

    name: str
    unit: Unit
    values: tuple[float, ...]
    bar: float | None = None

    @property
    def median(self) -> float:
        """What counts."""
        return statistics.median(self.values)

    def line(self) -> str:
        """The line: what, median, lowest and highest when there are several, bar, whether it is held."""
        several, bar, verdict = self._rest()
        measured = f"{self.median:>8.4g} {self.unit:<3} {len(self.values):>2}x {several:<18}"
        return f"{self.name:<58} {measured} {bar:>8} {verdict}".rstrip()

    def row(self) -> str:
        """The same as a row of a Markdown table, as docs/reference/figures.md has them."""
        several, bar, verdict = self._rest()
        verdict = "**missed**" if verdict == "missed" else verdict
        return f"| {self.name} | {self.median:.3g} {self.unit} | {len(self.values)} | {several} | {bar} | {verdict} |"

    def _rest(self) -> tuple[str, str, str]:
        """Lowest and highest, the bar, and whether it is held; each empty where there is none."""
        several = f"{min(self.values):.4g} to {max(self.values):.4g}" if len(self.values) > 1 else ""
        if self.bar is None:
            return several, "", ""
        return several, f"{self.bar:g} {self.unit}", "held" if self.median <= self.bar else "missed"


def figure(name: str, unit: Unit, values: float | Sequence[float], bar: float | None = None) -> Figure:
    """A figure of one value or of several."""
    return Figure(name, unit, tuple(values) if isinstance(values, Sequence) else (values,), bar)


def show(figures: Sequence[Figure]) -> None:
    """Print the table."""
    print(f"{'what':<58} {'median':>8} {'':<3} {'n':>3} {'lowest to highest':<18} {'bar':>8}")
    for each in figures:
        print(each.line())
