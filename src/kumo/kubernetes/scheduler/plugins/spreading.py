"""Topology spread constraints made ready: their selectors, and which nodes count for them. Pure.

`pod.spec.topologySpreadConstraints`, or the profile's default constraints with the selector of the pod's services and
owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kumo.api import selectors
from kumo.api.objects import Object, labels_of
from kumo.api.tolerations import tolerated
from kumo.kubernetes.scheduler.matching import Matches, identity, is_empty, matcher
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.node_affinity import node_matches, question_of

HARD, SOFT = "DoNotSchedule", "ScheduleAnyway"
HOSTNAME = "kubernetes.io/hostname"
SYSTEM_DEFAULTS: tuple[Mapping[str, Any], ...] = (
    {"maxSkew": 3, "topologyKey": HOSTNAME, "whenUnsatisfiable": SOFT},
    {"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": SOFT},
)


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint of one pod; `question` identifies what the pod asks of nodes, for `node_matches`."""

    key: str
    max_skew: int
    min_domains: int
    matches: Matches
    count_key: tuple[str, str]
    empty: bool
    honour_affinity: bool
    honour_taints: bool
    question: str

    def counts_node(self, pod: PodInfo, info: NodeInfo) -> bool:
        """Whether the node's pods count, as nodeAffinityPolicy and nodeTaintsPolicy say."""
        if self.honour_affinity and not node_matches(pod, info, self.question):
            return False
        return not self.honour_taints or tolerated(info.hard_taints, pod.tolerations)

    def count(self, info: NodeInfo) -> int:
        """How many matching pods are on the node; an empty selector counts none, as upstream's."""
        if self.empty:
            return 0
        known = info.memo.get(self.count_key)
        return known if known is not None else info.count(self.count_key, self.matches)


def constraints_of(pod: PodInfo, action: str, wanted: Sequence[Mapping[str, Any]]) -> tuple[Constraint, ...]:
    """Those of the constraints that have this `whenUnsatisfiable`."""
    chosen = [c for c in wanted if (c.get("whenUnsatisfiable") or HARD) == action]
    question = question_of(pod.spec) if chosen else ""
    return tuple(_constraint(pod, c, selector_of(pod.labels, c), question) for c in chosen)


def default_constraints(
    pod: PodInfo, action: str, defaults: Sequence[Mapping[str, Any]], selector: Mapping[str, Any]
) -> tuple[Constraint, ...]:
    """The default constraints, with the selector of the pod's services and owner; none for an empty one."""
    chosen = [c for c in defaults if c.get("whenUnsatisfiable") == action]
    if not chosen or is_empty(selector):
        return ()
    question = question_of(pod.spec)
    return tuple(_constraint(pod, c, selector, question) for c in chosen)


def _constraint(
    pod: PodInfo, wanted: Mapping[str, Any], selector: Mapping[str, Any] | None, question: str
) -> Constraint:
    return Constraint(
        key=wanted["topologyKey"],
        max_skew=int(wanted.get("maxSkew") or 1),
        min_domains=int(wanted.get("minDomains") or 1),
        matches=matcher(selector),
        count_key=(pod.namespace, identity(selector)),
        empty=is_empty(selector),
        honour_affinity=(wanted.get("nodeAffinityPolicy") or "Honor") == "Honor",
        honour_taints=(wanted.get("nodeTaintsPolicy") or "Ignore") == "Honor",
        question=question,
    )


def selector_of(labels: Mapping[str, str], wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The constraint's selector, with the pod's own values of its `matchLabelKeys`.

    The API server writes those into the selector of new pods; pods from before have them here.
    """
    selector: Mapping[str, Any] | None = wanted.get("labelSelector")
    more = [
        {"key": k, "operator": "In", "values": [labels[k]]} for k in wanted.get("matchLabelKeys") or () if k in labels
    ]
    if selector is None or not more:
        return selector
    known = selector.get("matchExpressions") or ()
    return {**selector, "matchExpressions": [*known, *(e for e in more if e not in known)]}


def has_all_keys(labels: Mapping[str, str], constraints: Sequence[Constraint]) -> bool:
    """Whether a node has every topology key of the constraints."""
    for constraint in constraints:  # noqa: SIM110 - every node is asked: a generator costs three times as much
        if constraint.key not in labels:
            return False
    return True


def concerns(pod: Object, other: Object) -> bool:
    """Whether a pod (`other`) is matched by one of the hard constraints of `pod`."""
    spec = pod.get("spec") or {}
    return any(
        selectors.matches(selector_of(labels_of(pod), c), labels_of(other))
        for c in spec.get("topologySpreadConstraints") or ()
        if (c.get("whenUnsatisfiable") or HARD) == HARD
    )
