"""InterPodAffinity: attraction and repulsion between pods across topology domains."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kumo.api.objects import Object, labels_of, uid_of
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.matching import Term
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import MAX_SCORE, SKIP, Plugin, Prefiltered

_NOT_NEAR = "node(s) didn't match pod affinity rules"
_TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
_KEPT_AWAY = "node(s) didn't satisfy existing pods anti-affinity rules"

Domain = tuple[str, str]


@dataclass(slots=True)
class _Domains:
    """How many pods make a domain wanted, unwanted by the pod, or closed to it by others."""

    near: Counter[Domain] = field(default_factory=Counter)
    far: Counter[Domain] = field(default_factory=Counter)
    closed: Counter[Domain] = field(default_factory=Counter)
    closing: set[str] = field(default_factory=set)
    """The keys of closed domains: a node is asked for few of them, however many domains there are."""

    def clone(self) -> _Domains:
        """A copy for a trial."""
        return _Domains(Counter(self.near), Counter(self.far), Counter(self.closed), set(self.closing))


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
        found = _Domains()
        for name in cache.repulsive:
            info = cache.nodes[name]
            for other in info.repulsive.values():
                self._close(cycle, found, other, info, 1)
        if pod.affinity or pod.anti_affinity:
            for info in cache.candidates():
                for other in info.pods.values():
                    self._meet(cycle, found, other, info, 1)
        elif not found.closed:
            return SKIP
        cycle.states[self.name] = found
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse what is too far, too near, or closed."""
        found: _Domains = cycle.states[self.name]
        pod, labels = cycle.pod, info.labels
        if pod.affinity and not _is_near(cycle, found, labels):
            return self.refuse(_NOT_NEAR, final=True)
        if found.far and any(found.far[t.key, labels[t.key]] > 0 for t in pod.anti_affinity if t.key in labels):
            return self.refuse(_TOO_NEAR)
        if any(found.closed[key, labels[key]] > 0 for key in found.closing if key in labels):
            return self.refuse(_KEPT_AWAY)
        return None

    def pod_added(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """Count a pod in."""
        self._count(cycle, other, info, 1)

    def pod_removed(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """Count a pod out."""
        self._count(cycle, other, info, -1)

    def _count(self, cycle: Cycle, other: PodInfo, info: NodeInfo, step: int) -> None:
        found: _Domains | None = cycle.states.get(self.name)
        if found is not None:
            self._close(cycle, found, other, info, step)
            self._meet(cycle, found, other, info, step)

    def _close(self, cycle: Cycle, found: _Domains, other: PodInfo, info: NodeInfo, step: int) -> None:
        pod, labels_of_space = cycle.pod, cycle.world.namespace_labels
        for term in other.anti_affinity:
            if term.key in info.labels and term.matches(pod.namespace, pod.labels, labels_of_space):
                _add(found.closed, (term.key, info.labels[term.key]), step)
                found.closing.add(term.key)

    def _meet(self, cycle: Cycle, found: _Domains, other: PodInfo, info: NodeInfo, step: int) -> None:
        pod, spaces, labels = cycle.pod, cycle.world.namespace_labels, info.labels
        if pod.affinity and all(t.matches(other.namespace, other.labels, spaces) for t in pod.affinity):
            for term in pod.affinity:
                if term.key in labels:
                    _add(found.near, (term.key, labels[term.key]), step)
        for term in pod.anti_affinity:
            if term.key in labels and term.matches(other.namespace, other.labels, spaces):
                _add(found.far, (term.key, labels[term.key]), step)

    # -- score ------------------------------------------------------------------------------------------------------

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int] | None:
        """The weights of preferred terms, the pod's and the others', and of the others' required affinity."""
        pod, cache = cycle.pod, cycle.world.cache
        own = bool(pod.preferred_affinity or pod.preferred_anti_affinity)
        if not own and (self._ignore or not cache.choosy):
            return None
        weights: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for info in cache.candidates() if own else [cache.nodes[name] for name in cache.choosy]:
            if info.labels and info.node:
                for other in info.pods.values() if own else info.choosy.values():
                    self._weigh(cycle, weights, other, info.labels)
        if not weights:
            return None
        return _stretched([sum(values[n.labels[k]] for k, values in weights.items() if k in n.labels) for n in nodes])

    def _weigh(
        self, cycle: Cycle, weights: defaultdict[str, Counter[str]], other: PodInfo, labels: Mapping[str, str]
    ) -> None:
        pod, spaces = cycle.pod, cycle.world.namespace_labels
        for sign, mine, theirs in (
            (1, pod.preferred_affinity, other.preferred_affinity),
            (-1, pod.preferred_anti_affinity, other.preferred_anti_affinity),
        ):
            for term in mine:
                if term.key in labels and term.matches(other.namespace, other.labels, spaces):
                    weights[term.key][labels[term.key]] += sign * term.weight
            for term in theirs:
                if term.key in labels and term.matches(pod.namespace, pod.labels, spaces):
                    weights[term.key][labels[term.key]] += sign * term.weight
        if self._hard_weight:
            for term in other.affinity:
                if term.key in labels and term.matches(pod.namespace, pod.labels, spaces):
                    weights[term.key][labels[term.key]] += self._hard_weight

    # -- events -----------------------------------------------------------------------------------------------------

    def interests(self) -> Sequence[Interest]:
        """A pod that comes, goes or changes its labels; a node that comes or changes its domains."""
        return (
            Interest(Resource.POD, Action.ADD | Action.POD_LABEL | Action.DELETE, _pod_hint),
            Interest(Resource.NODE, Action.ADD | Action.NODE_LABEL, _node_hint),
        )


def _is_near(cycle: Cycle, found: _Domains, labels: Mapping[str, str]) -> bool:
    """Whether there is a pod near that satisfies all terms, or the pod is the first of its own kind."""
    pod = cycle.pod
    if any(t.key not in labels for t in pod.affinity):
        return False
    if all(found.near[t.key, labels[t.key]] > 0 for t in pod.affinity):
        return True
    return not found.near and _matches_all(pod.affinity, pod, cycle.world.namespace_labels)


def _matches_all(terms: Iterable[Term], pod: PodInfo, spaces: object) -> bool:
    return all(t.matches(pod.namespace, pod.labels, spaces) for t in terms)  # type: ignore[arg-type]


def _add(counts: Counter[Domain], domain: Domain, step: int) -> None:
    counts[domain] += step
    if counts[domain] == 0:
        del counts[domain]


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
