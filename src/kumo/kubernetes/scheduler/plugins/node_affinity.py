"""NodeAffinity and NodeName: which nodes the pod asks for by their labels and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kumo.api import selectors
from kumo.api.objects import Object, labels_of, name_of
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.matching import identity
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered, normalized

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NOT_MATCHED = "node(s) didn't match Pod's node affinity/selector"
_NOT_ADDED = "node(s) didn't match scheduler-enforced node affinity"
_CONFLICT = "pod affinity terms conflict"


def affinity_of(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod's node affinity."""
    return (spec.get("affinity") or {}).get("nodeAffinity") or {}


def selects(spec: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    """Whether a node satisfies a pod spec's nodeSelector and required node affinity."""
    wanted = spec.get("nodeSelector") or {}
    if any(labels.get(k) != v for k, v in wanted.items()):
        return False
    required = affinity_of(spec).get(_REQUIRED)
    return required is None or matches_terms(required, name, labels)


def matches_terms(selector: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    """Whether a node satisfies one of the terms of a `NodeSelector`."""
    fields = {"metadata.name": name}
    return any(selectors.matches_node_term(t, labels, fields) for t in selector.get("nodeSelectorTerms") or ())


def question_of(spec: Mapping[str, Any]) -> str:
    """What identifies the question whether a node is selected; empty if every node is."""
    wanted, required = spec.get("nodeSelector"), affinity_of(spec).get(_REQUIRED)
    return identity([wanted, required]) if wanted or required is not None else ""


def node_matches(pod: PodInfo, info: NodeInfo, question: str) -> bool:
    """Whether the node satisfies the pod's nodeSelector and required affinity; `question` as `question_of` gives it."""
    return not question or info.asked(question, lambda node: selects(pod.spec, node.name, node.labels))


class NodeAffinity(Plugin):
    """Refuses nodes that the pod, or the `addedAffinity` of the profile, does not select; prefers what it prefers."""

    name = "NodeAffinity"
    filters = scores = True

    def __init__(self, added: Mapping[str, Any] | None = None) -> None:
        self._added = (added or {}).get(_REQUIRED)
        self._added_preferred = tuple((added or {}).get(_PREFERRED) or ())

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Narrow the search down where the pod names its nodes."""
        spec = cycle.pod.spec
        question = question_of(spec)
        if not question and self._added is None:
            return SKIP
        cycle.states[self.name] = question
        named = _named(affinity_of(spec).get(_REQUIRED) or {})
        if named is not None and not named:
            return self.refuse(_CONFLICT, final=True)
        return named

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node that is not selected."""
        if self._added is not None and not matches_terms(self._added, info.name, info.labels):
            return self.refuse(_NOT_ADDED, final=True)
        if node_matches(cycle.pod, info, cycle.states[self.name]):
            return None
        return self.refuse(_NOT_MATCHED, final=True)

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int] | None:
        """The sum of weights of the preferred terms that the node satisfies."""
        terms = [*self._added_preferred, *(affinity_of(cycle.pod.spec).get(_PREFERRED) or ())]
        if not terms:
            return None
        return normalized([_weight(terms, info) for info in nodes])

    def interests(self) -> Sequence[Interest]:
        """A node that is selected now and was not before."""
        return (Interest(Resource.NODE, Action.ADD | Action.NODE_LABEL, self._hint),)

    def _hint(self, pod: Object, event: Happening) -> bool:
        new, old, spec = event.new or {}, event.old, pod.get("spec") or {}
        if self._added is not None and not matches_terms(self._added, name_of(new), labels_of(new)):
            return False
        if not selects(spec, name_of(new), labels_of(new)):
            return False
        return old is None or not selects(spec, name_of(old), labels_of(old))


def _weight(terms: Sequence[Mapping[str, Any]], info: NodeInfo) -> int:
    fields = {"metadata.name": info.name}
    return sum(
        int(term.get("weight") or 0)
        for term in terms
        if selectors.matches_node_term(term.get("preference") or {}, info.labels, fields)
    )


def _named(required: Mapping[str, Any]) -> frozenset[str] | None:
    """The names of nodes that the terms come down to; None if one of them speaks of no name."""
    found: frozenset[str] = frozenset()
    for term in required.get("nodeSelectorTerms") or ():
        names: frozenset[str] | None = None
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and field.get("operator") == "In":
                values = frozenset(field.get("values") or ())
                names = values if names is None else names & values
        if names is None:
            return None
        found |= names
    return found if required.get("nodeSelectorTerms") else None


class NodeName(Plugin):
    """Refuses all nodes but the one that the pod's spec names."""

    name = "NodeName"
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Nothing to do where the pod names none."""
        return None if cycle.pod.spec.get("nodeName") else SKIP

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse other nodes."""
        if cycle.pod.spec.get("nodeName") == info.name:
            return None
        return self.refuse("node(s) didn't match the requested node name", final=True)

    def interests(self) -> Sequence[Interest]:
        """A new node may be the one."""
        return (Interest(Resource.NODE, Action.ADD),)
