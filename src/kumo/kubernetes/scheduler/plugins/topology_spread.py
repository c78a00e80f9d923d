"""PodTopologySpread: how evenly matching pods lie over domains."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kumo.api.objects import Object, labels_of, namespace_of, uid_of
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import MAX_SCORE, SKIP, Plugin, Prefiltered
from kumo.kubernetes.scheduler.plugins.spreading import (
    HARD,
    HOSTNAME,
    SOFT,
    SYSTEM_DEFAULTS,
    Constraint,
    concerns,
    constraints_of,
    default_constraints,
    has_all_keys,
)

_KEYLESS = "node(s) didn't match pod topology spread constraints (missing required label)"
_UNEVEN = "node(s) didn't match pod topology spread constraints"


@dataclass(slots=True)
class _Counts:
    """Hard constraints with the matching pods of each domain."""

    constraints: tuple[Constraint, ...]
    domains: list[Counter[str]]
    own: list[int]
    """Whether the pod itself is matched: 1 or 0."""
    least: list[int | None]

    def clone(self) -> _Counts:
        """A copy for a trial."""
        return _Counts(self.constraints, [Counter(d) for d in self.domains], self.own, list(self.least))

    def least_of(self, index: int) -> int:
        """The global minimum, 0 while there are fewer domains than wanted."""
        found = self.least[index]
        if found is None:
            domains = self.domains[index]
            enough = len(domains) >= self.constraints[index].min_domains
            found = self.least[index] = min(domains.values(), default=0) if enough else 0
        return found


class PodTopologySpread(Plugin):
    """Refuses nodes that would make the skew too large; prefers those that make it small."""

    name = "PodTopologySpread"
    filters = scores = True

    def __init__(self, defaults: Sequence[Mapping[str, Any]] | None = None) -> None:
        self._system = defaults is None
        self._defaults = SYSTEM_DEFAULTS if defaults is None else tuple(defaults)

    def _constraints(self, cycle: Cycle, action: str) -> tuple[Constraint, ...]:
        own = cycle.pod.spec.get("topologySpreadConstraints")
        if own:
            return constraints_of(cycle.pod, action, own)
        if not any(c.get("whenUnsatisfiable") == action for c in self._defaults):
            return ()
        return default_constraints(cycle.pod, action, self._defaults, cycle.world.default_selector(cycle.pod))

    # -- filter -----------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Count the matching pods of every domain."""
        pod, constraints = cycle.pod, self._constraints(cycle, HARD)
        if not constraints:
            return SKIP
        domains: list[Counter[str]] = [Counter() for _ in constraints]
        for info in cycle.world.cache.candidates():
            if not has_all_keys(info.labels, constraints):
                continue
            for constraint, counts in zip(constraints, domains):
                if constraint.counts_node(pod, info):
                    counts[info.labels[constraint.key]] += constraint.count(info)
        own = [int(c.matches(pod.labels)) for c in constraints]
        cycle.states[self.name] = _Counts(constraints, domains, own, [None] * len(constraints))
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node without the key, or whose domain has too many pods already."""
        counts: _Counts = cycle.states[self.name]
        for i, constraint in enumerate(counts.constraints):
            value = info.labels.get(constraint.key)
            if value is None:
                return self.refuse(_KEYLESS, final=True)
            if counts.domains[i][value] + counts.own[i] - counts.least_of(i) > constraint.max_skew:
                return self.refuse(_UNEVEN)
        return None

    def pod_added(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """Count a pod in."""
        self._count(cycle, other, info, 1)

    def pod_removed(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """Count a pod out."""
        self._count(cycle, other, info, -1)

    def _count(self, cycle: Cycle, other: PodInfo, info: NodeInfo, step: int) -> None:
        counts: _Counts | None = cycle.states.get(self.name)
        if (
            counts is None
            or other.namespace != cycle.pod.namespace
            or not has_all_keys(info.labels, counts.constraints)
        ):
            return
        for i, constraint in enumerate(counts.constraints):
            if constraint.matches(other.labels) and constraint.counts_node(cycle.pod, info):
                counts.domains[i][info.labels[constraint.key]] += step
                counts.least[i] = None

    # -- score ------------------------------------------------------------------------------------------------------

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int] | None:
        """Fewer matching pods in the node's domains; keys with many values count for more."""
        constraints = self._constraints(cycle, SOFT)
        if not constraints:
            return None
        strict = bool(cycle.pod.spec.get("topologySpreadConstraints")) or not self._system
        ignored = {n.name for n in nodes if strict and not has_all_keys(n.labels, constraints)}
        taking_part = [n for n in nodes if n.name not in ignored]
        sums: list[float] = [0.0] * len(nodes)
        for constraint in constraints:
            counts = _domain_counts(cycle, constraint, constraints, taking_part, strict=strict)
            size = len(taking_part) if constraint.key == HOSTNAME else len(counts)
            weight, base = math.log(size + 2), float(constraint.max_skew - 1)
            for i, info in enumerate(nodes):
                value = info.labels.get(constraint.key)
                if value is not None and info.name not in ignored:
                    found = constraint.count(info) if constraint.key == HOSTNAME else counts[value]
                    sums[i] += found * weight + base
        return _spread_scores([None if n.name in ignored else int(s + 0.5) for n, s in zip(nodes, sums)])

    def interests(self) -> Sequence[Interest]:
        """A matching pod that comes, goes or changes its labels; a node that changes its domains."""
        return (
            Interest(
                Resource.POD, Action.ADD | Action.POD_LABEL | Action.POD_TOLERATION | Action.DELETE, self._pod_hint
            ),
            Interest(
                Resource.NODE, Action.ADD | Action.DELETE | Action.NODE_LABEL | Action.NODE_TAINT, self._node_hint
            ),
        )

    def _pod_hint(self, pod: Object, event: Happening) -> bool:
        seen = [o for o in (event.old, event.new) if o is not None]
        if not all(_involved(o, pod) for o in seen):
            return False
        if not (pod.get("spec") or {}).get("topologySpreadConstraints"):
            return True
        if event.old is not None and event.new is not None:
            if uid_of(event.new) == uid_of(pod) and event.action & Action.POD_TOLERATION:
                return True
            return labels_of(event.old) != labels_of(event.new)
        return concerns(pod, seen[0])

    def _node_hint(self, pod: Object, event: Happening) -> bool:
        wanted = (pod.get("spec") or {}).get("topologySpreadConstraints") or self._defaults
        keys = [c["topologyKey"] for c in wanted if (c.get("whenUnsatisfiable") or HARD) == HARD]
        before, after = (labels_of(o) if o is not None else {} for o in (event.old, event.new))
        had, has = all(k in before for k in keys), all(k in after for k in keys)
        if event.old is not None and event.new is not None:
            moved = any(before.get(k) != after.get(k) for k in keys)
            return (had or has) and (moved or bool(event.action & Action.NODE_TAINT))
        return had or has


def _involved(other: Object, pod: Object) -> bool:
    """Whether a pod has a place, or is promised one, in the waiting pod's namespace; or is the waiting pod."""
    if uid_of(other) == uid_of(pod):
        return True
    placed = (other.get("spec") or {}).get("nodeName") or (other.get("status") or {}).get("nominatedNodeName")
    return bool(placed) and namespace_of(other) == namespace_of(pod)


def _domain_counts(
    cycle: Cycle, constraint: Constraint, every: Sequence[Constraint], nodes: Sequence[NodeInfo], *, strict: bool
) -> dict[str, int]:
    """Matching pods of each domain that one of the nodes is in; nothing for the host name, which nodes answer for."""
    if constraint.key == HOSTNAME:
        return {}
    counts = {n.labels.get(constraint.key, ""): 0 for n in nodes}
    for info in cycle.world.cache.candidates():
        if strict and not has_all_keys(info.labels, every):
            continue
        value = info.labels.get(constraint.key, "")
        if value in counts and constraint.counts_node(cycle.pod, info):
            counts[value] += constraint.count(info)
    return counts


def _spread_scores(raw: Sequence[int | None]) -> list[int]:
    known = [r for r in raw if r is not None]
    low, high = min(known, default=0), max(known, default=0)
    if high == 0:
        return [0 if r is None else MAX_SCORE for r in raw]
    return [0 if r is None else MAX_SCORE * (high + low - r) // high for r in raw]
