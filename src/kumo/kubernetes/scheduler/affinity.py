"""Attraction and repulsion: node affinity, and the affinity of pods for pods across topology domains.

Terms are `PodAffinityTerm` and `NodeSelectorTerm` of core/v1. A domain is a pair of topology key and value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kumo.api import selectors
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo, Term
from kumo.kubernetes.scheduler.world import World

Domain = tuple[str, str]


def node_matches(pod: PodInfo, info: NodeInfo) -> bool:
    """Whether the node satisfies the pod's nodeSelector and required node affinity."""
    wanted = pod.spec.get("nodeSelector") or {}
    labels = info.labels
    if any(labels.get(k) != v for k, v in wanted.items()):
        return False
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": info.name}
    return any(selectors.matches_node_term(t, labels, fields) for t in required.get("nodeSelectorTerms") or ())


def preferred_node_weight(pod: PodInfo, info: NodeInfo) -> int:
    """The sum of weights of the preferred node affinity terms that the node satisfies."""
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    fields = {"metadata.name": info.name}
    return sum(
        int(term.get("weight") or 0)
        for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        if selectors.matches_node_term(term.get("preference") or {}, info.labels, fields)
    )


def term_matches(term: Term, holder: PodInfo, other: PodInfo, labels_of: Callable[[str], Mapping[str, str]]) -> bool:
    """Whether `other` is one of the pods that a term of `holder` speaks of; `labels_of` gives a namespace's labels."""
    namespaces = term.get("namespaces") or []
    selector = term.get("namespaceSelector")
    if not namespaces and selector is None:
        in_scope = other.namespace == holder.namespace
    else:
        in_scope = other.namespace in namespaces or selectors.matches(selector, labels_of(other.namespace))
    return in_scope and selectors.matches(term.get("labelSelector"), other.labels)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What other pods mean for one pod: the domains each of its terms finds, and those that are closed to it."""

    near: tuple[frozenset[Domain], ...] = ()
    far: tuple[frozenset[Domain], ...] = ()
    closed: frozenset[Domain] = frozenset()
    first_of_its_kind: bool = False
    """No pod satisfies the affinity terms yet, but the pod itself does: it may go wherever the keys exist."""


def neighbours(pod: PodInfo, world: World, nodes: Iterable[NodeInfo] | None = None) -> Neighbours:
    """Find the domains that required pod affinity and anti-affinity speak of, both of `pod` and of the others."""
    closed: set[Domain] = set()
    near: list[set[Domain]] = [set() for _ in pod.affinity]
    far: list[set[Domain]] = [set() for _ in pod.anti_affinity]
    for info in world.candidates() if nodes is None else nodes:
        labels = info.labels
        for other in _relevant(pod, info):
            for term in other.anti_affinity:
                if term_matches(term, other, pod, world.namespace_labels):
                    _note(closed, term, labels)
            if pod.affinity and all(term_matches(t, pod, other, world.namespace_labels) for t in pod.affinity):
                for found, term in zip(near, pod.affinity):
                    _note(found, term, labels)
            for found, term in zip(far, pod.anti_affinity):
                if term_matches(term, pod, other, world.namespace_labels):
                    _note(found, term, labels)
    alone = bool(pod.affinity) and not any(near)
    return Neighbours(
        near=tuple(map(frozenset, near)),
        far=tuple(map(frozenset, far)),
        closed=frozenset(closed),
        first_of_its_kind=alone and all(term_matches(t, pod, pod, world.namespace_labels) for t in pod.affinity),
    )


def _relevant(pod: PodInfo, info: NodeInfo) -> Iterable[PodInfo]:
    """The node's pods that the pod, or that themselves, may want near or far."""
    return info.pods.values() if pod.is_choosy else info.choosy.values()


def _note(domains: set[Domain], term: Term, labels: Mapping[str, str]) -> None:
    key = term.get("topologyKey") or ""
    if key in labels:
        domains.add((key, labels[key]))


def closed_by_others(found: Neighbours, info: NodeInfo) -> bool:
    """Whether a pod that is there keeps this one away."""
    return any(info.labels.get(key) == value for key, value in found.closed)


def away_from_others(pod: PodInfo, found: Neighbours, info: NodeInfo) -> bool:
    """Whether the pod's own anti-affinity lets it onto the node."""
    return not any(_domain(t, info) in domains for t, domains in zip(pod.anti_affinity, found.far))


def near_others(pod: PodInfo, found: Neighbours, info: NodeInfo) -> bool:
    """Whether the pod's affinity terms are satisfied on the node."""
    if any((t.get("topologyKey") or "") not in info.labels for t in pod.affinity):
        return False
    return found.first_of_its_kind or all(_domain(t, info) in d for t, d in zip(pod.affinity, found.near))


def _domain(term: Term, info: NodeInfo) -> Domain | None:
    key = term.get("topologyKey") or ""
    return (key, info.labels[key]) if key in info.labels else None


@dataclass(slots=True)
class Attraction:
    """Weights that preferred terms give to domains, for one pod."""

    weights: Counter[Domain] = field(default_factory=Counter)

    def weight(self, info: NodeInfo) -> int:
        """The sum for one node."""
        labels = info.labels
        return sum(w for (key, value), w in self.weights.items() if labels.get(key) == value)


def attraction(pod: PodInfo, world: World) -> Attraction:
    """Sum up preferred pod affinity and anti-affinity: the pod's for others, and that of others for the pod.

    Required affinity of other pods counts with weight 1 (upstream's hardPodAffinityWeight).
    """
    found = Attraction()
    wanted = [(t, 1) for t in pod.preferred_affinity] + [(t, -1) for t in pod.preferred_anti_affinity]
    for info in world.candidates():
        for other in _relevant(pod, info):
            theirs = [(t, 1) for t in other.preferred_affinity] + [(t, -1) for t in other.preferred_anti_affinity]
            for weighted, sign in wanted:
                _weigh(found, weighted, sign, pod, other, info, world)
            for weighted, sign in theirs:
                _weigh(found, weighted, sign, other, pod, info, world)
            for term in other.affinity:
                _weigh(found, {"weight": 1, "podAffinityTerm": term}, 1, other, pod, info, world)
    return found


def _weigh(
    found: Attraction, weighted: Term, sign: int, holder: PodInfo, target: PodInfo, info: NodeInfo, world: World
) -> None:
    term = weighted.get("podAffinityTerm") or {}
    domain = _domain(term, info)
    if domain is not None and term_matches(term, holder, target, world.namespace_labels):
        found.weights[domain] += sign * int(weighted.get("weight") or 0)
