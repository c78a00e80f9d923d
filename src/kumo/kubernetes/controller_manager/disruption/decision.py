"""The next status of a PodDisruptionBudget: `pkg/controller/disruption`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

from kumo.api import conditions
from kumo.api.intstr import scaled
from kumo.api.objects import Object, controller_of, is_deleting, name_of, parse_timestamp, timestamp
from kumo.kubernetes.controller_manager.pods import is_ready

DELETION_TIMEOUT = 120.0
"""Seconds within which an evicted pod must be seen to go; afterwards it counts as healthy again."""


@dataclass(slots=True)
class Expected:
    """How many pods there should be, how many of them healthy, and which pods nobody controls."""

    count: int
    healthy: int
    unmanaged: list[str] = field(default_factory=list)


class NotFound(Exception):
    """A pod's controller can't be found, so that nobody knows how many pods there should be."""


def expected(spec: Object, pods: Sequence[Object], scales: Mapping[str, int]) -> Expected:
    """What the budget's spec expects of the pods; `scales` by the uid of their controllers.

    Raises NotFound, and ValueError for a share that is none.
    """
    most, least = spec.get("maxUnavailable"), spec.get("minAvailable")
    if most is None and (least is None or isinstance(least, int)):
        return Expected(len(pods), least or 0) if least is not None else Expected(0, 0)
    total, unmanaged = _scale(pods, scales)
    if most is not None:
        return Expected(total, max(total - scaled(most, total, round_up=True), 0), unmanaged)
    assert least is not None
    return Expected(total, scaled(least, total, round_up=True), unmanaged)


def needs_scale(spec: Object) -> bool:
    """Whether the budget is about a share of what the pods' controllers want."""
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def _scale(pods: Sequence[Object], scales: Mapping[str, int]) -> tuple[int, list[str]]:
    owners, unmanaged = set(), []
    for pod in pods:
        owner = controller_of(pod)
        if owner is None:
            unmanaged.append(name_of(pod))
        elif owner["uid"] not in scales:
            raise NotFound(f'found no controllers for pod "{name_of(pod)}"')
        else:
            owners.add(owner["uid"])
    return sum(scales[uid] for uid in owners), unmanaged


class Disrupted(NamedTuple):
    """The pods that were evicted and are still to go, and in how many seconds the next of them is given up."""

    pods: dict[str, str]
    recheck: float | None
    overdue: tuple[Object, ...]


def disrupted(budget: Object, pods: Sequence[Object], now: float) -> Disrupted:
    """What is left of `status.disruptedPods`."""
    noted = (budget.get("status") or {}).get("disruptedPods") or {}
    kept: dict[str, str] = {}
    overdue, nearest = [], None
    for pod in pods:
        at = noted.get(name_of(pod))
        if at is None or is_deleting(pod):
            continue
        until = parse_timestamp(at) + DELETION_TIMEOUT
        if until < now:
            overdue.append(pod)
            continue
        kept[name_of(pod)] = at
        nearest = until if nearest is None else min(nearest, until)
    return Disrupted(kept, None if nearest is None else nearest - now, tuple(overdue))


def healthy(pods: Sequence[Object], gone: Mapping[str, str]) -> int:
    """How many pods are ready and stay."""
    return sum(1 for pod in pods if not is_deleting(pod) and name_of(pod) not in gone and is_ready(pod))


def next_status(budget: Object, wanted: Expected, current: int, gone: Mapping[str, str], now: float) -> Object | None:
    """The status to write, or None when it is right."""
    old = budget.get("status") or {}
    allowed = max(current - wanted.healthy, 0) if wanted.count > 0 else 0
    generation = budget["metadata"].get("generation") or 0
    status: Object = {
        "currentHealthy": current,
        "desiredHealthy": wanted.healthy,
        "expectedPods": wanted.count,
        "disruptionsAllowed": allowed,
        "observedGeneration": generation,
    }
    if gone:
        status["disruptedPods"] = dict(gone)
    found = deepcopy(old.get("conditions") or [])
    allow_condition(found, allowed, generation, now)
    status["conditions"] = found
    keys = ("currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed", "observedGeneration")
    same = all((old.get(key) or 0) == status[key] for key in keys) and (old.get("disruptedPods") or {}) == dict(gone)
    return None if same and found == (old.get("conditions") or []) else status


def allow_condition(found: list[Object], allowed: int, generation: int, now: float) -> None:
    """Set the condition DisruptionAllowed in place."""
    condition = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed > 0 else "False",
        "reason": "SufficientPods" if allowed > 0 else "InsufficientPods",
        "message": "",
        "observedGeneration": generation,
    }
    conditions.set_condition(found, condition, timestamp(now))


def failed_status(budget: Object, why: str, now: float) -> Object:
    """The status that allows nothing, because nobody knows how many pods there should be."""
    status: Object = deepcopy(budget.get("status") or {})
    status["disruptionsAllowed"] = 0
    condition = {
        "type": "DisruptionAllowed",
        "status": "False",
        "reason": "SyncFailed",
        "message": why,
        "observedGeneration": status.get("observedGeneration") or 0,
    }
    conditions.set_condition(status.setdefault("conditions", []), condition, timestamp(now))
    for key in ("currentHealthy", "desiredHealthy", "expectedPods"):
        status.setdefault(key, 0)
    return status
