"""How fast and how soon: stabilization windows, scaling policies, bounds (upstream's `horizontal.go`). Pure.

What an autoscaler remembers between two looks is a `Memory`: its recommendations and what it changed, each with its
time. It is lost when the controller starts anew, as upstream's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_UP_FACTOR, _UP_LEAST = 2.0, 4.0
_HIGHEST, _LOWEST = (1 << 31) - 1, -(1 << 31)
Rules = Mapping[str, Any]
"""`HPAScalingRules` of autoscaling/v2, with the API's defaults filled in."""


class Timed(NamedTuple):
    """A number of replicas and when."""

    replicas: int
    at: float


@dataclass(slots=True)
class Memory:
    """What is remembered of one autoscaler."""

    recommendations: list[Timed] = field(default_factory=list)
    ups: list[Timed] = field(default_factory=list)
    downs: list[Timed] = field(default_factory=list)

    def begin(self, current: int, now: float) -> None:
        """The size at the first look counts as a recommendation."""
        if not self.recommendations:
            self.recommendations.append(Timed(current, now))

    def changed(self, behavior: Mapping[str, Any] | None, before: int, after: int, now: float) -> None:
        """Note a change of the target's size; only policies look at it."""
        if behavior is None:
            return
        events, rules = (self.ups, behavior["scaleUp"]) if after > before else (self.downs, behavior["scaleDown"])
        longest = max((p["periodSeconds"] for p in rules.get("policies") or ()), default=0)
        _replace(events, Timed(abs(after - before), now), lambda old: old.at < now - longest)


class Told(NamedTuple):
    """A number of replicas and why it is not another: reason and message of a condition."""

    replicas: int
    reason: str
    message: str


class Normalized(NamedTuple):
    """The size to have, and what to say of it: `able` for AbleToScale, `limited` for ScalingLimited."""

    replicas: int
    able: Told
    limited: Told
    is_limited: bool


READY = ("ReadyForNewScale", "recommended size matches current size")
_LOWERED = "recent recommendations were higher than current one, applying the highest recent recommendation"
_RAISED = "recent recommendations were lower than current one, applying the lowest recent recommendation"
_WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_UP_LIMIT = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_DOWN_LIMIT = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")


def normalize(
    memory: Memory,
    behavior: Mapping[str, Any] | None,
    *,
    current: int,
    wanted: int,
    least: int,
    most: int,
    window: float,
    now: float,
) -> Normalized:
    """The size that may be had now; notes the recommendation. `window` is the stabilization going down by default."""
    if behavior is None:
        stable = _stable_down(memory, wanted, window, now)
        able = Told(stable, *READY) if stable == wanted else Told(stable, "ScaleDownStabilized", _LOWERED)
        limited = _bounded(current, stable, least, most)
    else:
        able = _stable(memory, behavior, current, wanted, window, now)
        stable = able.replicas
        limited = _paced(memory, behavior, current, stable, least, most, now)
    return Normalized(limited.replicas, able, limited, limited.replicas != stable)


# -- stabilization ----------------------------------------------------------------------------------------------------


def _stable_down(memory: Memory, wanted: int, window: float, now: float) -> int:
    cutoff = now - window
    stable = max([wanted, *(r.replicas for r in memory.recommendations if r.at >= cutoff)])
    _replace(memory.recommendations, Timed(wanted, now), lambda old: old.at < cutoff)
    return stable


def _stable(memory: Memory, behavior: Mapping[str, Any], current: int, wanted: int, window: float, now: float) -> Told:
    up_cutoff = now - (behavior["scaleUp"].get("stabilizationWindowSeconds") or 0)
    down = behavior["scaleDown"].get("stabilizationWindowSeconds")
    down_cutoff = now - (window if down is None else down)
    lowest = min([wanted, *(r.replicas for r in memory.recommendations if r.at > up_cutoff)])
    highest = max([wanted, *(r.replicas for r in memory.recommendations if r.at > down_cutoff)])
    stable = min(max(current, lowest), highest)
    _replace(memory.recommendations, Timed(wanted, now), lambda old: old.at < up_cutoff and old.at < down_cutoff)
    if stable == wanted:
        return Told(stable, *READY)
    if wanted >= current:
        return Told(stable, "ScaleUpStabilized", _RAISED)
    return Told(stable, "ScaleDownStabilized", _LOWERED)


# -- limits -----------------------------------------------------------------------------------------------------------


def _bounded(current: int, wanted: int, least: int, most: int) -> Told:
    limit = int(max(_UP_FACTOR * current, _UP_LEAST))
    if wanted < least:
        return Told(least, *_TOO_FEW)
    if wanted > min(most, limit):
        return Told(limit, *_UP_LIMIT) if most > limit else Told(most, *_TOO_MANY)
    return Told(wanted, *_WITHIN)


def _paced(
    memory: Memory, behavior: Mapping[str, Any], current: int, wanted: int, least: int, most: int, now: float
) -> Told:
    if wanted > current:
        limit = max(up_limit(current, memory.ups, memory.downs, behavior["scaleUp"], now), current)
        if wanted > min(most, limit):
            return Told(limit, *_UP_LIMIT) if most > limit else Told(most, *_TOO_MANY)
    elif wanted < current:
        limit = min(down_limit(current, memory.ups, memory.downs, behavior["scaleDown"], now), current)
        if wanted < max(least, limit):
            return Told(limit, *_DOWN_LIMIT) if least < limit else Told(least, *_TOO_FEW)
    return Told(wanted, *_WITHIN)


def up_limit(current: int, ups: Iterable[Timed], downs: Iterable[Timed], rules: Rules, now: float) -> int:
    """The largest size that the policies of going up allow now."""
    choice = rules.get("selectPolicy") or "Max"
    if choice == "Disabled":
        return current
    proposals = []
    for policy, began in _periods(current, ups, downs, rules, now):
        if policy["type"] == "Pods":
            proposals.append(began + policy["value"])
        else:
            proposals.append(math.ceil(began * (1 + policy["value"] / 100)))
    if choice == "Min":
        return min(proposals, default=_HIGHEST)
    return max(proposals, default=_LOWEST)


def down_limit(current: int, ups: Iterable[Timed], downs: Iterable[Timed], rules: Rules, now: float) -> int:
    """The smallest size that the policies of going down allow now."""
    choice = rules.get("selectPolicy") or "Max"
    if choice == "Disabled":
        return current
    proposals = []
    for policy, began in _periods(current, ups, downs, rules, now):
        if policy["type"] == "Pods":
            proposals.append(began - policy["value"])
        else:
            proposals.append(int(began * (1 - policy["value"] / 100)))
    if choice == "Min":
        return max(proposals, default=_LOWEST)
    return min(proposals, default=_HIGHEST)


def _periods(
    current: int, ups: Iterable[Timed], downs: Iterable[Timed], rules: Rules, now: float
) -> Sequence[tuple[Mapping[str, Any], int]]:
    """Each policy with the size at the beginning of its period."""
    found = []
    for policy in rules.get("policies") or ():
        cutoff = now - policy["periodSeconds"]
        added = sum(e.replicas for e in ups if e.at > cutoff)
        removed = sum(e.replicas for e in downs if e.at > cutoff)
        found.append((policy, current - added + removed))
    return found


def _replace(kept: list[Timed], new: Timed, old: Any) -> None:
    """Put the new one in place of the last that is too old, else behind the others: the list stays short."""
    for index in range(len(kept) - 1, -1, -1):
        if old(kept[index]):
            kept[index] = new
            return
    kept.append(new)
