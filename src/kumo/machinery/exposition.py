"""Prometheus' text format (version 0.0.4): counters, gauges and histograms as lines."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Sequence[str], float]
"""The values of a family's labels, and the number."""


class Histogram:
    """Counts by upper bounds. Observing costs a bisection."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def family(
    kind: str, name: str, text: str, labels: Sequence[str], samples: Iterable[Sample], *, at: float | None = None
) -> list[str]:
    """The lines of a counter or a gauge; none when there are no samples. `at` is when they were taken, in seconds."""
    when = "" if at is None else f" {int(at * 1000)}"
    lines = [f"{name}{_braces(labels, values)} {_number(number)}{when}" for values, number in samples]
    return [*_top(name, text, kind), *lines] if lines else []


def histograms(
    name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], Histogram]]
) -> list[str]:
    """The lines of a histogram family."""
    return list(histogram_lines(name, text, labels, samples))


def histogram_lines(
    name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], Histogram]]
) -> Iterator[str]:
    """The same, made one after the other."""
    told = False
    for values, histogram in samples:
        if not told:
            told = True
            yield from _top(name, text, "histogram")
        inner = _braces(labels, values)[1:-1]
        comma, count = "," if inner else "", 0
        for bound, number in zip(histogram.bounds, histogram.counts, strict=False):
            count += number
            yield f'{name}_bucket{{{inner}{comma}le="{_number(bound)}"}} {count}'
        count += histogram.counts[-1]
        yield f'{name}_bucket{{{inner}{comma}le="+Inf"}} {count}'
        braces = f"{{{inner}}}" if inner else ""
        yield f"{name}_sum{braces} {_number(histogram.total)}"
        yield f"{name}_count{braces} {count}"


def _top(name: str, text: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _braces(labels: Sequence[str], values: Sequence[str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{k}="{_escaped(v)}"' for k, v in zip(labels, values, strict=True)) + "}"


def _escaped(text: str) -> str:
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def counts(values: Mapping[str, float]) -> list[Sample]:
    """Samples of a family with one label."""
    return [((key,), number) for key, number in sorted(values.items())]
