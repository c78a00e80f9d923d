"""How many replicas a metric wants: upstream's `replica_calculator.go`. Values are thousandths. Pure.

Missing samples are filled in against the way the others point: nothing when they say more, all that is granted when
they say less; unready pods count for nothing when more are wanted. What would then turn the direction is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kumo.api.conditions import is_true
from kumo.api.objects import Object
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.failures import Uncomputable
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.grouping import Groups, Sample, Samples

LARGEST = (1 << 31) - 1
_LARGEST_VALUE = (1 << 63) - 1
_NO_PODS = "no pods returned by selector while calculating replica count"
_NO_SAMPLES = "did not receive metrics for targeted pods (pods might be unready)"


class Tolerance(NamedTuple):
    """By which share usage may differ from its target, down and up, before anything is done."""

    down: float
    up: float

    def holds(self, ratio: float) -> bool:
        """Whether the ratio is near enough to one."""
        return (1.0 - self.down) <= ratio <= (1.0 + self.up)


class Proposal(NamedTuple):
    """Replicas, the usage they are made of (thousandths), and the utilization in percent where it is one."""

    replicas: int
    usage: int
    utilization: int | None = None


class _Ratio(NamedTuple):
    """Usage by target, the utilization in percent, and the mean usage."""

    ratio: float
    utilization: int
    mean: int


def utilization_replicas(
    pods: Sequence[Object],
    samples: Samples,
    groups: Groups,
    requests: Mapping[str, int],
    current: int,
    target: int,
    tolerance: Tolerance,
) -> Proposal:
    """Replicas for a mean utilization of `target` percent of the requests. Raises Uncomputable."""
    values = counted(pods, samples, groups)

    def ratio(of: Mapping[str, int]) -> _Ratio:
        known = [name for name in of if name in requests]
        total = sum(requests[name] for name in known)
        if total == 0:
            raise Uncomputable("no metrics returned matched known pods")
        used = sum(of[name] for name in known)
        percent = _quotient(used * 100, total)
        return _Ratio(percent / target, percent, _quotient(used, len(known)))

    first = ratio(values)
    fallback = {name: _quotient(requests[name] * max(100, target), 100) for name in groups.missing}
    filled = _filled(values, groups, first.ratio, fallback)
    again = None if filled is None else ratio(filled).ratio
    count = len(filled or ())
    return Proposal(_wanted(first.ratio, again, groups, count, current, tolerance), first.mean, first.utilization)


def plain_replicas(
    pods: Sequence[Object], samples: Samples, groups: Groups, current: int, target: int, tolerance: Tolerance
) -> Proposal:
    """Replicas for a mean value of `target` a pod. Raises Uncomputable."""
    values = counted(pods, samples, groups)

    def ratio(of: Mapping[str, int]) -> _Ratio:
        mean = _quotient(sum(of.values()), len(of))
        return _Ratio(_divided(mean, target), 0, mean)

    first = ratio(values)
    filled = _filled(values, groups, first.ratio, dict.fromkeys(groups.missing, target))
    again = None if filled is None else ratio(filled).ratio
    wanted = _wanted(first.ratio, again, groups, len(filled or ()), current, tolerance)
    return Proposal(wanted, first.mean)


def value_replicas(pods: Sequence[Object], value: int, current: int, target: int, tolerance: Tolerance) -> Proposal:
    """Replicas for a `value` that is one for all pods and should be `target`. Raises Uncomputable without pods."""
    ratio = _divided(value, target)
    if current == 0:
        return Proposal(_ceiling(ratio), value)
    if tolerance.holds(ratio):
        return Proposal(current, value)
    if not pods:
        raise Uncomputable(f"unable to calculate ready pods: {_NO_PODS}")
    ready = sum(1 for p in pods if (p.get("status") or {}).get("phase") == "Running" and is_true(p, "Ready"))
    return Proposal(_ceiling(ratio * ready), value)


def shared_replicas(value: int, current: int, target: int, tolerance: Tolerance) -> Proposal:
    """Replicas for a `value` of which each pod should have `target`; `current` replicas share it now."""
    wanted = current
    if not tolerance.holds(_divided(value, target * current)):
        wanted = _ceiling(_divided(value, target))
    if value >= _LARGEST_VALUE:
        return Proposal(wanted, _LARGEST_VALUE)
    share = _divided(value, current)
    return Proposal(wanted, math.ceil(share) if math.isfinite(share) else _LARGEST_VALUE)


def total(values: Sequence[int]) -> int:
    """The sum of an external metric's values, at most the largest number there is."""
    return min(sum(values), _LARGEST_VALUE)


# -- what both kinds of pods' metrics share ---------------------------------------------------------------------------


def counted(pods: Sequence[Object], samples: Mapping[str, Sample], groups: Groups) -> dict[str, int]:
    """The values that count at first, by pod. Raises Uncomputable when there are none."""
    if not pods:
        raise Uncomputable(_NO_PODS)
    left_out = groups.ignored | groups.unready
    values = {name: sample.value for name, sample in samples.items() if name not in left_out}
    if not values:
        raise Uncomputable(_NO_SAMPLES)
    return values


def _filled(
    values: Mapping[str, int], groups: Groups, ratio: float, fallback: Mapping[str, int]
) -> dict[str, int] | None:
    """The values with those that are missing or unready filled in; None when the first ones decide alone."""
    with_unready = bool(groups.unready) and ratio > 1.0
    if not with_unready and not groups.missing:
        return None
    found = dict(values)
    if ratio < 1.0:
        found |= fallback
    elif ratio > 1.0:
        found |= dict.fromkeys(groups.missing, 0)
    if with_unready:
        found |= dict.fromkeys(groups.unready, 0)
    return found


def _wanted(ratio: float, again: float | None, groups: Groups, count: int, current: int, tolerance: Tolerance) -> int:
    """The number from the first ratio, or from the one `again` with `count` values where some were filled in."""
    if again is None:
        return current if tolerance.holds(ratio) else _ceiling(ratio * groups.ready)
    turned = (ratio < 1.0 < again) or (again < 1.0 < ratio)
    if turned or tolerance.holds(again):
        return current
    wanted = _ceiling(again * count)
    if (again < 1.0 and wanted > current) or (again > 1.0 and wanted < current):
        return current
    return wanted


def _quotient(a: int, b: int) -> int:
    """Whole division toward zero."""
    return a // b if (a >= 0) == (b >= 0) else -(-a // b)


def _divided(a: float, b: float) -> float:
    """Division as IEEE 754 has it, also by zero."""
    if b:
        return a / b
    return math.nan if not a else math.copysign(math.inf, a)


def _ceiling(value: float) -> int:
    """The next whole number, within what a number of replicas can be."""
    if math.isnan(value):
        return 0
    if value >= LARGEST:
        return LARGEST
    return max(math.ceil(value), -LARGEST) if math.isfinite(value) else -LARGEST
