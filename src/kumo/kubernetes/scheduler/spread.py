"""Topology spread constraints: how evenly matching pods lie over domains (`pod.spec.topologySpreadConstraints`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from kumo.api import selectors
from kumo.api.objects import is_deleting
from kumo.kubernetes.scheduler import affinity, taints
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.world import World


@dataclass(frozen=True, slots=True)
class Spread:
    """One constraint with the number of matching pods in each domain of its key."""

    key: str
    max_skew: int
    min_domains: int
    counts: Counter[str]
    matches_self: bool

    def allows(self, info: NodeInfo) -> bool:
        """Whether one more pod in the node's domain keeps the skew within bounds."""
        value = info.labels.get(self.key)
        if value is None:
            return False
        least = min(self.counts.values(), default=0) if len(self.counts) >= self.min_domains else 0
        return self.counts[value] + int(self.matches_self) - least <= self.max_skew


def spreads(pod: PodInfo, world: World, when_unsatisfiable: str) -> list[Spread]:
    """The pod's constraints of one sort (`DoNotSchedule` or `ScheduleAnyway`), counted over the world."""
    constraints = [
        c
        for c in pod.spec.get("topologySpreadConstraints") or ()
        if (c.get("whenUnsatisfiable") or "DoNotSchedule") == when_unsatisfiable
    ]
    keys = [c["topologyKey"] for c in constraints]
    return [_count(pod, constraint, keys, world) for constraint in constraints]


def _count(pod: PodInfo, constraint: dict[str, Any], keys: list[str], world: World) -> Spread:
    key, selector = constraint["topologyKey"], _selector(pod, constraint)
    counts: Counter[str] = Counter()
    for info in world.candidates():
        if not all(k in info.labels for k in keys) or not _counts_node(pod, constraint, info):
            continue
        counts[info.labels[key]] += sum(
            p.namespace == pod.namespace and not is_deleting(p.pod) and selectors.matches(selector, p.labels)
            for p in info.pods.values()
        )
    return Spread(
        key=key,
        max_skew=int(constraint.get("maxSkew") or 1),
        min_domains=int(constraint.get("minDomains") or 1),
        counts=counts,
        matches_self=selectors.matches(selector, pod.labels),
    )


def _selector(pod: PodInfo, constraint: dict[str, Any]) -> dict[str, Any] | None:
    selector: dict[str, Any] | None = constraint.get("labelSelector")
    more = [
        {"key": k, "operator": "In", "values": [pod.labels[k]]}
        for k in constraint.get("matchLabelKeys") or ()
        if k in pod.labels
    ]
    if selector is None or not more:
        return selector
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *more]}


def _counts_node(pod: PodInfo, constraint: dict[str, Any], info: NodeInfo) -> bool:
    if (constraint.get("nodeAffinityPolicy") or "Honor") == "Honor" and not affinity.node_matches(pod, info):
        return False
    if (constraint.get("nodeTaintsPolicy") or "Ignore") == "Honor":
        return taints.untolerated(info.taints, taints.tolerations(pod), taints.HARD) is None
    return True
