"""Scores: which possible node is best. Each scorer gives 0 to 100 a node; the weights are upstream's defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from kumo.kubernetes.scheduler import affinity, spread, taints
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.world import World

Scorer = Callable[[PodInfo, Sequence[NodeInfo], World], list[float]]

_MIB = 1024 * 1024
_SMALL_IMAGE, _LARGE_IMAGE = 23 * _MIB, 1000 * _MIB
_SCORED = ("cpu", "memory")


def normalise(raw: Sequence[float], *, reverse: bool = False) -> list[float]:
    """Scale so that the largest becomes 100 (0 if reversed); all zero stays zero (100 if reversed)."""
    top = max(raw, default=0)
    scaled = [100.0 * r / top if top else 0.0 for r in raw]
    return [100.0 - s for s in scaled] if reverse else scaled


def _stretch(raw: Sequence[float]) -> list[float]:
    low, high = min(raw, default=0), max(raw, default=0)
    return [100.0 * (r - low) / (high - low) if high > low else 0.0 for r in raw]


def least_allocated(pod: PodInfo, nodes: Sequence[NodeInfo], world: World) -> list[float]:
    """The share of cpu and memory that stays free."""

    def score(info: NodeInfo) -> float:
        shares = []
        for name in _SCORED:
            total = info.allocatable.get(name, 0)
            used = info.scoring.get(name, 0) + pod.scoring[name]
            shares.append(100.0 * max(total - used, 0) / total if total else 0.0)
        return sum(shares) / len(shares)

    return [score(n) for n in nodes]


def balanced_allocation(pod: PodInfo, nodes: Sequence[NodeInfo], world: World) -> list[float]:
    """How evenly cpu and memory are used: 100 less the standard deviation of their used shares."""

    def score(info: NodeInfo) -> float:
        shares = []
        for name in _SCORED:
            total = info.allocatable.get(name, 0)
            if total:
                used = info.requested.get(name, 0) + pod.requests.get(name, 0)
                shares.append(min(used / total, 1.0))
        if len(shares) < 2:
            return 100.0
        mean = sum(shares) / len(shares)
        return 100.0 * (1.0 - math.sqrt(sum((s - mean) ** 2 for s in shares) / len(shares)))

    return [score(n) for n in nodes]


def node_affinity(pod: PodInfo, nodes: Sequence[NodeInfo], world: World) -> list[float]:
    """Preferred node affinity."""
    return normalise([affinity.preferred_node_weight(pod, n) for n in nodes])


def taint_toleration(pod: PodInfo, nodes: Sequence[NodeInfo], world: World) -> list[float]:
    """Fewer PreferNoSchedule taints that the pod does not tolerate."""
    return normalise([taints.intolerable_preferences(pod, n.taints) for n in nodes], reverse=True)


def pod_affinity(pod: PodInfo, nodes: Sequence[NodeInfo], world: World) -> list[float]:
    """Preferred pod affinity and anti-affinity."""
    found = affinity.attraction(pod, world)
    return _stretch([found.weight(n) for n in nodes]) if found.weights else [0.0] * len(nodes)


def topology_spread(pod: PodInfo, nodes: Sequence[NodeInfo], world: World) -> list[float]:
    """Soft spread constraints; without any, fewer pods of the same owner on the node and in its zone."""
    soft = spread.spreads(pod, world, "ScheduleAnyway")
    if soft:
        raw = [sum(s.counts[n.labels.get(s.key, "")] for s in soft) for n in nodes]
        return normalise(raw, reverse=True)
    if not pod.owner:
        return [100.0] * len(nodes)
    return normalise([sum(p.owner == pod.owner for p in n.pods.values()) for n in nodes], reverse=True)


def image_locality(pod: PodInfo, nodes: Sequence[NodeInfo], world: World) -> list[float]:
    """Bytes of the pod's images that the node has, each counted by the share of nodes that have it."""
    containers = [*(pod.spec.get("containers") or ()), *(pod.spec.get("initContainers") or ())]
    images = [_with_tag(c.get("image") or "") for c in containers]
    sizes = [_image_sizes(n) for n in nodes]
    top = _LARGE_IMAGE * max(len(containers), 1)
    found = []
    for mine in sizes:
        total = sum(mine[i] * sum(i in s for s in sizes) / len(sizes) for i in images if i in mine)
        bounded = min(max(total, _SMALL_IMAGE), top)
        found.append(100.0 * (bounded - _SMALL_IMAGE) / (top - _SMALL_IMAGE))
    return found


def _with_tag(image: str) -> str:
    return image if ":" in image.rsplit("/", 1)[-1] or "@" in image else image + ":latest"


def _image_sizes(info: NodeInfo) -> dict[str, int]:
    images: list[dict[str, Any]] = (info.node.get("status") or {}).get("images") or []
    return {name: int(i.get("sizeBytes") or 0) for i in images for name in i.get("names") or ()}


SCORERS: tuple[tuple[Scorer, int], ...] = (
    (least_allocated, 1),
    (balanced_allocation, 1),
    (image_locality, 1),
    (node_affinity, 2),
    (pod_affinity, 2),
    (topology_spread, 2),
    (taint_toleration, 3),
)


def score(pod: PodInfo, nodes: Sequence[NodeInfo], world: World) -> list[float]:
    """The weighted sum of all scores, one for each node."""
    totals = [0.0] * len(nodes)
    for scorer, weight in SCORERS:
        for i, value in enumerate(scorer(pod, nodes, world)):
            totals[i] += weight * value
    return totals
