"""Who has how long when the machine is shut down. Pure. Upstream: `nodeshutdown_manager.go`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from kumo.kubernetes.kubelet.spec import SYSTEM_CRITICAL

T = TypeVar("T")
Periods = tuple[tuple[int, int], ...]
"""Priorities, ascending, each with seconds."""


def by_priority(whole: float, critical: float, given: Sequence[Mapping[str, Any]] = ()) -> Periods:
    """The periods of `shutdownGracePeriodByPodPriority` (`given`), or of the two older fields: seconds for all pods,
    the last of them for critical ones. Empty: nothing is waited for."""
    if given:
        found = ((int(g.get("priority") or 0), int(g.get("shutdownGracePeriodSeconds") or 0)) for g in given)
        return tuple(sorted(found, key=lambda period: period[0]))
    if whole <= 0 or critical > whole:
        return ()
    return ((0, int(whole - critical)), (SYSTEM_CRITICAL, int(critical)))


def requested(periods: Periods) -> int:
    """Seconds that the machine is asked to wait."""
    return sum(seconds for _, seconds in periods)


def grouped(periods: Periods, pods: Iterable[tuple[int, T]]) -> list[tuple[int, list[T]]]:
    """The pods (each with its priority) of each period, with its seconds; the first to end first."""
    groups: list[tuple[int, list[T]]] = [(seconds, []) for _, seconds in periods]
    steps = [priority for priority, _ in periods]
    for priority, pod in pods:
        index = bisect_left(steps, priority)
        if index == len(steps) or (index > 0 and steps[index] > priority):
            index -= 1
        groups[index][1].append(pod)
    return groups
