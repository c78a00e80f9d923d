"""InterPodAffinity: attraction and repulsion between pods across topology domains."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kumo.api.objects import Object, labels_of, uid_of
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.matching import Term
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import MAX_SCORE, SKIP, Plugin, Prefiltered
from kumo.kubernetes.scheduler.tallies import Tallies, Tally, chooses_spaces

_NOT_NEAR = "node(s) didn't match pod affinity rules"
_TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
_KEPT_AWAY = "node(s) didn't satisfy existing pods anti-affinity rules"

T = TypeVar("T", bound=Tally)
Spaces = Callable[[str], Mapping[str, str]]
"""The labels of a namespace."""
Counts = dict[str, dict[str, int]]
"""By topology key and its value; what has come down to 0 is left out."""


@dataclass(slots=True)
class _Domains:
    """How many pods make a domain wanted by the pod, unwanted by it, or closed to it by others. A tally."""

    pod: PodInfo
    spaces: Spaces
    near: Counts = field(default_factory=dict)
    far: Counts = field(default_factory=dict)
    closed: Counts = field(default_factory=dict)

    def clone(self) -> _Domains:
        """A copy for a trial."""
        near, far, closed = ({k: dict(v) for k, v in c.items()} for c in (self.near, self.far, self.closed))
        return _Domains(self.pod, self.spaces, near, far, closed)

    def count(self, other: PodInfo, info: NodeInfo, step: int) -> None:
        """Count another pod on a node in or out."""
        pod, spaces, labels = self.pod, self.spaces, info.labels
        for term in other.anti_affinity:
            if term.key in labels and term.matches(pod.namespace, pod.labels, spaces):
                _add(self.closed, term.key, labels[term.key], step)
        if pod.affinity and all(t.matches(other.namespace, other.labels, spaces) for t in pod.affinity):
            for term in pod.affinity:
                if term.key in labels:
                    _add(self.near, term.key, labels[term.key], step)
        for term in pod.anti_affinity:
            if term.key in labels and term.matches(other.namespace, other.labels, spaces):
                _add(self.far, term.key, labels[term.key], step)

    def is_near(self, labels: Mapping[str, str]) -> bool:
        """Whether there is a pod near that satisfies all terms, or the pod is the first of its own kind."""
        pod = self.pod
        for term in pod.affinity:
            value = labels.get(term.key)
            if value is None:
                return False
            if value not in self.near.get(term.key, ()):
                break
        else:
            return True
        if any(t.key not in labels for t in pod.affinity) or any(self.near.values()):
            return False
        return all(t.matches(pod.namespace, pod.labels, self.spaces) for t in pod.affinity)


@dataclass(slots=True)
class _Weights:
    """What preferred terms, the pod's and the others', and the others' required affinity make of domains. A tally."""

    pod: PodInfo
    spaces: Spaces
    hard: int
    found: Counts = field(default_factory=dict)

    def count(self, other: PodInfo, info: NodeInfo, step: int) -> None:
        """Count another pod on a node in or out."""
        pod, spaces, labels = self.pod, self.spaces, info.labels
        for sign, mine, theirs in (
            (step, pod.preferred_affinity, other.preferred_affinity),
            (-step, pod.preferred_anti_affinity, other.preferred_anti_affinity),
        ):
            for term in mine:
                if term.key in labels and term.matches(other.namespace, other.labels, spaces):
                    _add(self.found, term.key, labels[term.key], sign * term.weight)
            for term in theirs:
                if term.key in labels and term.matches(pod.namespace, pod.labels, spaces):
                    _add(self.found, term.key, labels[term.key], sign * term.weight)
        if self.hard:
            for term in other.affinity:
                if term.key in labels and term.matches(pod.namespace, pod.labels, spaces):
                    _add(self.found, term.key, labels[term.key], step * self.hard)


class InterPodAffinity(Plugin):
    """Refuses what required terms forbid, those of the pod and those of the pods that are there; weighs the others."""

    name = "InterPodAffinity"
    filters = scores = True

    def __init__(self, hard_weight: int = 1, *, ignore_preferred_of_others: bool = False) -> None:
        self._hard_weight = hard_weight
        self._ignore = ignore_preferred_of_others

    # -- filter -----------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Find the domains that terms speak of."""
        pod, cache = cycle.pod, cycle.world.cache
        own = bool(pod.affinity or pod.anti_affinity)
        if not own and not cache.repulsive:
            return SKIP
        key = ("filter", *_who(pod), *(tuple(t.text for t in terms) for terms in (pod.affinity, pod.anti_affinity)))
        others = cache.placed() if own else ((p, i) for i in cache.named(cache.repulsive) for p in i.repulsive.values())
        found = _tallied(cycle, key, _Domains(pod, cycle.world.namespace_labels), others).clone()
        if not own and not any(found.closed.values()):
            return SKIP
        cycle.states[self.name] = found
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse what is too far, too near, or closed."""
        found: _Domains = cycle.states[self.name]
        labels = info.labels
        if found.pod.affinity and not found.is_near(labels):
            return self.refuse(_NOT_NEAR, final=True)
        for key, values in found.far.items():
            if labels.get(key) in values:
                return self.refuse(_TOO_NEAR)
        for key, values in found.closed.items():
            if labels.get(key) in values:
                return self.refuse(_KEPT_AWAY)
        return None

    def pod_added(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """Count a pod in."""
        if self.name in cycle.states:
            cycle.states[self.name].count(other, info, 1)

    def pod_removed(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """Count a pod out."""
        if self.name in cycle.states:
            cycle.states[self.name].count(other, info, -1)

    # -- score ------------------------------------------------------------------------------------------------------

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int] | None:
        """The weights of preferred terms, the pod's and the others', and of the others' required affinity."""
        pod, cache = cycle.pod, cycle.world.cache
        preferred = (pod.preferred_affinity, pod.preferred_anti_affinity)
        own = any(preferred)
        if not own and (self._ignore or not cache.choosy):
            return None
        terms = (tuple((t.text, t.weight) for t in terms) for terms in preferred)
        key = ("score", *_who(pod), *terms, self._hard_weight)
        empty = _Weights(pod, cycle.world.namespace_labels, self._hard_weight)
        others = cache.placed() if own else ((p, i) for i in cache.named(cache.choosy) for p in i.choosy.values())
        weights = _tallied(cycle, key, empty, others)
        found = [(k, values) for k, values in weights.found.items() if values]
        if not found:
            return None
        if len(found) == 1:
            topology, values = found[0]
            return _stretched([values.get(n.labels[topology], 0) if topology in n.labels else 0 for n in nodes])
        return _stretched([sum(v.get(n.labels[k], 0) for k, v in found if k in n.labels) for n in nodes])

    # -- events -----------------------------------------------------------------------------------------------------

    def interests(self) -> Sequence[Interest]:
        """A pod that comes, goes or changes its labels; a node that comes or changes its domains."""
        return (
            Interest(Resource.POD, Action.ADD | Action.POD_LABEL | Action.DELETE, _pod_hint),
            Interest(Resource.NODE, Action.ADD | Action.NODE_LABEL, _node_hint),
        )


def _who(pod: PodInfo) -> tuple[str, frozenset[tuple[str, str]]]:
    """What others' terms look at."""
    return pod.namespace, frozenset(pod.labels.items())


def _tallied(cycle: Cycle, key: Hashable, empty: T, others: Iterable[tuple[PodInfo, NodeInfo]]) -> T:
    """The tally `key`: that of the cache, or one made for this cycle where a change of namespaces' labels matters."""
    tallies = cycle.world.cache.tallies
    if tallies.usable and not chooses_spaces(cycle.pod):
        return tallies.of(key, empty, others)
    return Tallies().of(key, empty, others)


def _add(counts: Counts, key: str, value: str, step: int) -> None:
    values = counts.setdefault(key, {})
    left = values.get(value, 0) + step
    if left:
        values[value] = left
    else:
        values.pop(value, None)


def _stretched(raw: Sequence[int]) -> list[int]:
    low, high = min(raw), max(raw)
    if high == low:
        return [0] * len(raw)
    return [int(float(MAX_SCORE) * ((r - low) / (high - low))) for r in raw]


def _pod_hint(pod: Object, event: Happening) -> bool:
    new, old = event.new, event.old
    if new is not None and old is not None and uid_of(new) == uid_of(pod):
        return True
    if any(o is not None and not _has_place(o) for o in (new, old)):
        return False
    mine = PodInfo.of(pod)

    def satisfied(terms: Sequence[Term], other: Object | None) -> bool:
        # a namespace that is chosen by its labels is taken to be the right one: a hint may hope too much
        space = (other or {}).get("metadata", {}).get("namespace") or ""
        return bool(terms) and all(
            (space in t.namespaces or t.namespace_selector is not None) and t.selector(labels_of(other or {}))
            for t in terms
        )

    if new is not None and satisfied(mine.affinity, new) and not (old is not None and satisfied(mine.affinity, old)):
        return True
    if old is None:
        return False
    leaves = satisfied(mine.anti_affinity, old) and not (new is not None and satisfied(mine.anti_affinity, new))
    return leaves or satisfied(PodInfo.of(old).anti_affinity, pod)


def _has_place(pod: Object) -> bool:
    status = pod.get("status") or {}
    return bool((pod.get("spec") or {}).get("nodeName") or status.get("nominatedNodeName"))


def _node_hint(pod: Object, event: Happening) -> bool:
    mine = PodInfo.of(pod)
    before, after = labels_of(event.old or {}), labels_of(event.new or {})
    if event.old is None:
        return bool(mine.anti_affinity) or not mine.affinity or any(t.key in after for t in mine.affinity)
    near = any(t.key in after and before.get(t.key) != after[t.key] for t in mine.affinity)
    return near or any(t.key in before and before[t.key] != after.get(t.key) for t in mine.anti_affinity)
