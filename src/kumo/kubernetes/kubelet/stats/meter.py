"""The kubelet's own counters, gauges and histograms: counted where things happen, told on `/metrics`.

Which there are is a table (`families`); what is not in it can't be counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kumo.machinery.exposition import Histogram, family, histograms

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
DEFAULT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Family(NamedTuple):
    """One family: what it is, its help (stability first), its labels, the bounds of a histogram."""

    kind: str
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = DEFAULT_BOUNDS


class Meter:
    """One node's figures. A family without labels shows from the start, one with labels once something was counted."""

    def __init__(self, families: Mapping[str, Family]) -> None:
        self._families = families
        self._numbers: dict[str, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {}
        for name, made in families.items():
            if made.kind == HISTOGRAM:
                self._histograms[name] = {(): Histogram(made.bounds)} if not made.labels else {}
            else:
                self._numbers[name] = {(): 0.0} if not made.labels else {}

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Add to a counter. Raises KeyError for an unknown one."""
        numbers = self._numbers[name]
        numbers[labels] = numbers.get(labels, 0.0) + by

    def put(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge. Raises KeyError for an unknown one."""
        self._numbers[name][labels] = value

    def fill(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Set all of a gauge; what is not in `values` goes. Raises KeyError for an unknown one."""
        self._numbers[name] = dict(values)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Count a value in a histogram. Raises KeyError for an unknown one."""
        found = self._histograms[name]
        if labels not in found:
            found[labels] = Histogram(self._families[name].bounds)
        found[labels].observe(value)

    def value(self, name: str, *labels: str) -> float:
        """What a counter or gauge says; how many values a histogram has seen."""
        if name in self._histograms:
            found = self._histograms[name].get(labels)
            return float(sum(found.counts)) if found is not None else 0.0
        return self._numbers[name].get(labels, 0.0)

    def lines(self) -> list[str]:
        """All families that have something to say, by name."""
        made: list[str] = []
        for name in sorted(self._families):
            shown = self._families[name]
            labels: Sequence[str] = shown.labels
            if shown.kind == HISTOGRAM:
                found = self._histograms[name]
                made += histograms(
                    name,
                    shown.text,
                    labels,
                    [(key, found[key]) for key in sorted(found)],
                )
            else:
                made += family(shown.kind, name, shown.text, labels, sorted(self._numbers[name].items()))
        return made
