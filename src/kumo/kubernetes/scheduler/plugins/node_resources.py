"""NodeResourcesFit and NodeResourcesBalancedAllocation: what pods ask for and nodes have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kumo.api.objects import Object, uid_of
from kumo.api.pod_requests import Amounts, amounts, pod_requests
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.devices.extended import class_for, is_extended
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import MAX_SCORE, Plugin, Prefiltered
from kumo.kubernetes.scheduler.requests import scoring_requests

_NATIVE = ("cpu", "memory", "ephemeral-storage")
_CLAIMED = "NodeResourcesFit/claimed"
_SCORED = ("cpu", "memory")
"""Of these a container counts for something when scores are given, even if it asks for nothing."""


class Weighted(NamedTuple):
    """A resource and how much it counts when nodes are scored."""

    name: str
    weight: int = 1


DEFAULT_RESOURCES = (Weighted("cpu"), Weighted("memory"))


@dataclass(frozen=True, slots=True)
class Strategy:
    """How nodes are scored by what is used of them: LeastAllocated, MostAllocated or RequestedToCapacityRatio.

    `shape` are points of utilization (0 to 100) and score (0 to 10) for the last one.
    """

    kind: str = "LeastAllocated"
    resources: tuple[Weighted, ...] = DEFAULT_RESOURCES
    shape: tuple[tuple[int, int], ...] = ((0, 0), (100, 10))


def is_scalar(name: str) -> bool:
    """Whether a resource is none that every node has: extended ones, huge pages, attachable volumes."""
    return name not in _NATIVE and name != "pods"


class Fit(Plugin):
    """Refuses nodes without room for what the pod asks; prefers them by the profile's strategy."""

    name = "NodeResourcesFit"
    filters = scores = True

    def __init__(
        self,
        strategy: Strategy | None = None,
        ignored: Sequence[str] = (),
        ignored_groups: Sequence[str] = (),
    ) -> None:
        self._strategy = strategy or Strategy()
        self._ignored, self._ignored_groups = frozenset(ignored), frozenset(ignored_groups)

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Sort out once what is asked."""
        cycle.states[self.name] = [
            (name, value) for name, value in _ordered(cycle.pod.requests) if value > 0 and not self.leaves_out(name)
        ]
        claimed = [n for n, _ in cycle.states[self.name] if n not in _NATIVE and is_extended(n)]
        if claimed:  # of what DeviceClasses stand for, claims are made where no plugin offers it
            classes = cycle.world.devices.classes()
            cycle.states[_CLAIMED] = {n for n in claimed if class_for(n, classes)}
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node with too many pods or too little of something."""
        there, used = info.allocatable, info.requested
        too_many = len(info.pods) + 1 > there.get("pods", 0)
        asked = cycle.states[self.name]
        claimed = cycle.states.get(_CLAIMED)
        if claimed:
            asked = [(n, v) for n, v in asked if n not in claimed or there.get(n)]
        for name, value in asked:
            if value > there.get(name, 0) - used.get(name, 0):
                break
        else:
            if not too_many:
                return None
        short = [
            (name, value > there.get(name, 0))
            for name, value in asked
            if value > there.get(name, 0) - used.get(name, 0)
        ]
        reasons = ["Too many pods"] if too_many else []
        reasons += [f"Insufficient {name}" for name, _ in short]
        return self.refuse(*reasons, final=any(final for _, final in short))

    def leaves_out(self, name: str) -> bool:
        """Whether the profile does not look at this (extended) resource."""
        return is_scalar(name) and (name in self._ignored or name.partition("/")[0] in self._ignored_groups)

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
        """How much would be left, or used, of each resource."""
        strategy = self._strategy
        wanted = _without_pod_level(cycle.pod)
        resources = [r for r in strategy.resources if not (is_scalar(r.name) and not wanted.get(r.name))]
        if strategy.kind == "LeastAllocated" and len(resources) == 2:
            first, second = ((r, wanted.get(r.name, 0)) for r in resources)
            key = (self.name, first, second)
            return [
                known
                if (known := info.memo.get(key)) is not None
                else info.remember(key, _least_of_two(first, second, info))
                for info in nodes
            ]
        worth = _WORTH[strategy.kind](strategy)
        return [_weighed(resources, wanted, info, worth, rounded=bool(strategy.kind[0] == "R")) for info in nodes]

    def interests(self) -> Sequence[Interest]:
        """A pod that leaves or asks for less, a node that comes or has more."""
        return (
            Interest(Resource.POD, Action.DELETE | Action.POD_SCALE_DOWN, _pod_hint),
            Interest(Resource.NODE, Action.ADD | Action.NODE_ALLOCATABLE, _node_hint),
            Interest(Resource.DEVICE_CLASS, Action.ADD | Action.UPDATE, _class_hint),
        )


def _without_pod_level(pod: PodInfo) -> Amounts:
    """What the pod counts for itself: its containers' requests only, as upstream's scorer takes them."""
    if not pod.spec.get("resources"):
        return pod.scoring
    return scoring_requests({**pod.pod, "spec": {k: v for k, v in pod.spec.items() if k != "resources"}})


def _ordered(requests: Amounts) -> list[tuple[str, int]]:
    """Requests in the order in which upstream names what is missing."""
    native = [(n, requests[n]) for n in _NATIVE if n in requests]
    return native + [(n, v) for n, v in requests.items() if n not in _NATIVE]


def _used(info: NodeInfo, name: str) -> int:
    return (info.scoring if name in _SCORED else info.requested).get(name, 0)


def _least_of_two(first: tuple[Weighted, int], second: tuple[Weighted, int], info: NodeInfo) -> int:
    """`LeastAllocated` over two resources and what is asked of them: what nearly every profile asks for."""
    total = weights = 0
    for (name, weight), value in (first, second):
        capacity = info.allocatable.get(name, 0)
        if capacity:
            left = capacity - _used(info, name) - value
            total += (left * MAX_SCORE // capacity) * weight if left > 0 else 0
            weights += weight
    return total // weights if weights else 0


def _weighed(
    resources: Sequence[Weighted], wanted: Amounts, info: NodeInfo, worth: Callable[[int, int], int], *, rounded: bool
) -> int:
    total, weights = 0, 0
    for name, weight in resources:
        capacity = info.allocatable.get(name, 0)
        if not capacity:
            continue
        value = worth(_used(info, name) + wanted.get(name, 0), capacity)
        if rounded and value <= 0:  # upstream's ratio leaves such resources out
            continue
        total += value * weight
        weights += weight
    if not weights:
        return 0
    return int(total / weights + 0.5) if rounded else total // weights


def _least(_: Strategy) -> Callable[[int, int], int]:
    return lambda used, capacity: (capacity - used) * MAX_SCORE // capacity if used <= capacity else 0


def _most(_: Strategy) -> Callable[[int, int], int]:
    return lambda used, capacity: min(used, capacity) * MAX_SCORE // capacity


def _ratio(strategy: Strategy) -> Callable[[int, int], int]:
    points = [(x, y * MAX_SCORE // 10) for x, y in strategy.shape]

    def worth(used: int, capacity: int) -> int:
        at = 100 if used > capacity else used * 100 // capacity
        for i, (x, y) in enumerate(points):
            if at <= x:
                if i == 0:
                    return y
                x0, y0 = points[i - 1]
                return y0 + int((y - y0) * (at - x0) / (x - x0))
        return points[-1][1]

    return worth


_WORTH: Mapping[str, Callable[[Strategy], Callable[[int, int], int]]] = {
    "LeastAllocated": _least,
    "MostAllocated": _most,
    "RequestedToCapacityRatio": _ratio,
}


def _pod_hint(pod: Object, event: Happening) -> bool:
    if event.new is None:
        return bool(((event.old or {}).get("spec") or {}).get("nodeName"))
    if uid_of(event.new) == uid_of(pod):
        return True
    if not (event.new.get("spec") or {}).get("nodeName"):
        return False
    before, after = pod_requests(event.old or {}), pod_requests(event.new)
    return any(value > 0 and before.get(name, 0) > after.get(name, 0) for name, value in pod_requests(pod).items())


def _node_hint(pod: Object, event: Happening) -> bool:
    wanted = pod_requests(pod)
    new, old = _allocatable(event.new), _allocatable(event.old)
    if new.get("pods", 0) < 1 or any(value > new.get(name, 0) for name, value in wanted.items()):
        return False
    if event.old is None or new.get("pods", 0) > old.get("pods", 0):
        return True
    return any(value > 0 and new.get(name, 0) > old.get(name, 0) for name, value in wanted.items())


def _class_hint(pod: Object, event: Happening) -> bool:
    new = event.new or {}
    return any(class_for(name, [new]) for name in pod_requests(pod) if is_extended(name))


def _allocatable(node: Object | None) -> dict[str, int]:
    return amounts(((node or {}).get("status") or {}).get("allocatable"))


class BalancedAllocation(Plugin):
    """Prefers nodes whose resources the pod makes evener: 75 for no change, 100 for the best, 50 for the worst."""

    name = "NodeResourcesBalancedAllocation"
    scores = True

    def __init__(self, resources: Sequence[Weighted] = DEFAULT_RESOURCES) -> None:
        self._resources = tuple(resources)

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int] | None:
        """How much evener."""
        wanted = cycle.pod.requests
        asked = [(r.name, wanted.get(r.name, 0)) for r in self._resources]
        if not any(value for _, value in asked):
            return None
        asked = [(name, value) for name, value in asked if value or not is_scalar(name)]
        key = (self.name, *asked)
        return [
            known if (known := info.memo.get(key)) is not None else info.remember(key, _balance(asked, info))
            for info in nodes
        ]


def _balance(asked: Sequence[tuple[str, int]], info: NodeInfo) -> int:
    before, after = [], []
    for name, value in asked:
        capacity = info.allocatable.get(name, 0)
        if capacity:
            used = info.requested.get(name, 0)
            before.append(used / capacity if used < capacity else 1.0)
            after.append((used + value) / capacity if used + value < capacity else 1.0)
    return 50 + _quotient(50 + _evenness(after) - _evenness(before), 2)


def _evenness(shares: Sequence[float]) -> int:
    if len(shares) == 2:
        spread = abs((shares[0] - shares[1]) / 2)
    elif len(shares) > 2:
        mean = sum(shares) / len(shares)
        spread = math.sqrt(sum((s - mean) ** 2 for s in shares) / len(shares))
    else:
        spread = 0.0
    return int((1 - spread) * MAX_SCORE)


def _quotient(value: int, by: int) -> int:
    """Division that rounds towards zero, as Go's."""
    return int(value / by)


def strategy_of(args: Mapping[str, Any]) -> Strategy:
    """The strategy of `NodeResourcesFitArgs.scoringStrategy`; the default one without it."""
    found = args.get("scoringStrategy")
    if not found:
        return Strategy()
    resources = tuple(Weighted(r["name"], int(r.get("weight") or 1)) for r in found.get("resources") or ())
    points = (found.get("requestedToCapacityRatio") or {}).get("shape") or ()
    shape = tuple((int(p.get("utilization") or 0), int(p.get("score") or 0)) for p in points)
    kind = found.get("type") or "LeastAllocated"
    return Strategy(kind, resources or DEFAULT_RESOURCES, shape or Strategy().shape)
