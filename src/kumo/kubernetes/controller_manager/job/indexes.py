"""Completion indexes of Indexed jobs: sets of them as ordered intervals, their text (`0-2,4`), a pod's own. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api.objects import Object, annotations_of

INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation and label of a pod."""

Intervals = tuple[tuple[int, int], ...]
"""First and last index of each interval, ascending; neither overlapping nor touching."""


def index_of(pod: Object) -> int | None:
    """The pod's completion index; None without one that is a number of at least 0."""
    return _number(annotations_of(pod).get(INDEX, ""))


def valid_index(pod: Object, completions: int) -> int | None:
    """The same, None also for an index that the job doesn't have."""
    index = index_of(pod)
    return index if index is not None and index < completions else None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def parse(text: str, completions: int) -> Intervals:
    """The intervals in `text` below `completions`; parts that are no intervals are passed over."""
    found: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        first_text, dash, last_text = part.partition("-")
        first = _number(first_text)
        last = _number(last_text) if dash else first
        if first is None or last is None:
            continue
        if first >= completions:
            break
        if first <= last:
            found.append((first, min(last, completions - 1)))
    return _joined(found)


def written(intervals: Intervals) -> str:
    """The text of intervals: `0,2,3,5-7`; two neighbours are written as two."""
    parts = []
    for first, last in intervals:
        parts.append(str(first) if first == last else f"{first}{',' if last == first + 1 else '-'}{last}")
    return ",".join(parts)


def of(numbers: Iterable[int]) -> Intervals:
    """The intervals that hold exactly these numbers."""
    return _joined((n, n) for n in numbers)


def union(one: Intervals, other: Intervals) -> Intervals:
    """What is in one or the other."""
    return _joined((*one, *other)) if one and other else one or other


def _joined(intervals: Iterable[tuple[int, int]]) -> Intervals:
    found: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def total(intervals: Intervals) -> int:
    """How many indexes there are."""
    return sum(last - first + 1 for first, last in intervals)


def contains(intervals: Intervals, index: int) -> bool:
    """Whether the index is in one of the intervals."""
    return any(first <= index <= last for first, last in intervals)


def common(one: Intervals, other: Intervals) -> int:
    """How many indexes are in both."""
    return total(one) + total(other) - total(union(one, other))


def missing(intervals: Intervals, count: int, completions: int) -> list[int]:
    """The first `count` indexes below `completions` that are not in the intervals."""
    found: list[int] = []
    candidate = 0
    for first, last in (*intervals, (completions, completions)):
        found += range(candidate, min(first, completions, candidate + count - len(found)))
        candidate = max(candidate, last + 1)
        if len(found) >= count:
            break
    return found
