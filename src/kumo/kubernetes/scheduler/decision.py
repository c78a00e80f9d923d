"""The decision: a pod and the world in, a node or the reasons against every node out. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import Plugin, Skip
from kumo.kubernetes.scheduler.profile import Profile
from kumo.kubernetes.scheduler.world import World

_ENOUGH = 100
"""So many feasible nodes are looked for at least."""
NO_NODES = "no nodes available to schedule pods"


@dataclass(slots=True)
class Verdict:
    """What was found: the `feasible` nodes, and why the others won't do.

    `before` is the refusal of all nodes from before any was looked at; `absent` counts nodes that a plugin left out.
    """

    cycle: Cycle
    total: int
    feasible: list[NodeInfo] = field(default_factory=list)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    before: Refusal | None = None
    left_out: str = ""
    plugins: set[str] = field(default_factory=set)
    """Who refused: changes that could move one of them are worth another try."""

    def message(self, postscript: str = "") -> str:
        """What the condition and the event say, in upstream's form."""
        if self.total == 0:
            return NO_NODES
        if self.before is not None:
            text = f"0/{self.total} nodes are available: {', '.join(self.before.reasons)}."
        else:
            text = summary(self.total, self.refusals, self.left_out)
        return f"{text} {postscript}" if postscript else text

    def status_of(self, node: str) -> Refusal | None:
        """What is said against a node."""
        found = self.refusals.get(node)
        if found is None and self.before is not None:
            return self.before
        if found is None and self.left_out:
            return Refusal((self.left_out,), "", final=True)
        return found

    def add(self, node: str, refusal: Refusal) -> None:
        """Somebody refuses the node."""
        self.refusals[node] = refusal
        self.plugins.add(refusal.plugin)


def summary(total: int, refusals: Mapping[str, Refusal], absent: str = "") -> str:
    """`0/3 nodes are available: 1 reason, 2 another.`; `absent` is said of the nodes that nobody refused."""
    counts = Counter(reason for refusal in refusals.values() for reason in refusal.reasons)
    if absent and len(refusals) < total:
        counts[absent] += total - len(refusals)
    lines = sorted(f"{count} {reason}" for reason, count in counts.items())
    return f"0/{total} nodes are available:" + (f" {', '.join(lines)}." if lines else "")


def wanted_nodes(total: int, percentage: int) -> int:
    """How many feasible nodes are enough: all of a hundred, and of more the fewer (in per cent) the more there are."""
    if total < _ENOUGH:
        return total
    percentage = percentage or max(50 - total // 125, 5)
    return max(total * percentage // 100, _ENOUGH)


Mark = Callable[[str, Refusal | None], None]
"""Hears that an extension point is over, and what refused all nodes there, if something did."""


def _unheard(_: str, __: Refusal | None) -> None:
    pass


def look(pod: PodInfo, world: World, profile: Profile, start: int = 0, mark: Mark = _unheard) -> Verdict:
    """Find nodes where the pod can run, from the `start`-th on. Raises CycleError."""
    cycle = Cycle(pod, world)
    candidates = world.cache.candidates()
    verdict = Verdict(cycle, len(candidates))
    if not candidates:
        return verdict
    named = _prepare(cycle, profile, verdict)
    mark("PreFilter", verdict.before)
    if verdict.before is not None:
        return verdict
    nominated = world.cache.nodes.get(pod.nominated) if pod.nominated else None
    if nominated is not None and nominated.node and refuse(cycle, profile, nominated) is None:
        verdict.feasible = [nominated]
        return verdict
    if named is not None:
        candidates = [
            world.cache.nodes[n] for n in sorted(named) if n in world.cache.nodes and world.cache.nodes[n].node
        ]
    _filter(cycle, profile, candidates, verdict, start)
    mark("Filter", None)
    return verdict


def _prepare(cycle: Cycle, profile: Profile, verdict: Verdict) -> frozenset[str] | None:
    """Let every filter look at the pod once; the names of the nodes it comes down to, None for all."""
    named: frozenset[str] | None = None
    narrowing: list[str] = []
    for plugin in profile.filters:
        found = plugin.pre_filter(cycle)
        if isinstance(found, Skip):
            cycle.skipped.add(plugin.name)
        elif isinstance(found, Refusal):
            verdict.before = found
            verdict.plugins.add(plugin.name)
            return None
        elif isinstance(found, frozenset):
            named = found if named is None else named & found
            narrowing.append(plugin.name)
            verdict.plugins.add(plugin.name)
            if not named:
                text = f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(narrowing))}] simultaneously"
                verdict.before = Refusal((text,), plugin.name, final=True)
                return None
    if named is not None:
        verdict.left_out = f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(narrowing))}]"
    return named


def _filter(cycle: Cycle, profile: Profile, nodes: Sequence[NodeInfo], verdict: Verdict, start: int) -> None:
    active = [p for p in profile.filters if p.name not in cycle.skipped]
    waiting = _nominated_elsewhere(cycle)
    enough = wanted_nodes(len(nodes), profile.percentage)
    if not profile.scorers:
        enough = 1
    asked = [p.filter for p in active]
    start = start % len(nodes) if nodes else 0
    for info in (*nodes[start:], *nodes[:start]) if start else nodes:
        if info.name in waiting:
            refusal = _with_nominated(cycle, active, info, waiting[info.name])
        else:
            refusal = None
            for ask in asked:
                refusal = ask(cycle, info)
                if refusal is not None:
                    break
        if refusal is not None:
            verdict.add(info.name, refusal)
            continue
        verdict.feasible.append(info)
        if len(verdict.feasible) >= enough:
            break


def refuse(cycle: Cycle, profile: Profile, info: NodeInfo) -> Refusal | None:
    """What speaks against one node, pods that wait for room there counted in."""
    active = [p for p in profile.filters if p.name not in cycle.skipped]
    return _with_nominated(cycle, active, info, _nominated_elsewhere(cycle).get(info.name, ()))


def _nominated_elsewhere(cycle: Cycle) -> dict[str, list[PodInfo]]:
    """Pods at least as important that wait for room, by node."""
    found: dict[str, list[PodInfo]] = {}
    for uid, (node, other) in cycle.world.cache.nominated.items():
        if uid != cycle.pod.uid and other.priority >= cycle.pod.priority:
            found.setdefault(node, []).append(other)
    return found


def _with_nominated(
    cycle: Cycle, active: Sequence[Plugin], info: NodeInfo, waiting: Iterable[PodInfo]
) -> Refusal | None:
    """A node must do both with the pods that wait for it and without them: they may never come."""
    waiting = list(waiting)
    if waiting:
        fuller, trial = info.clone(), cycle.trial()
        for other in waiting:
            fuller.add_pod(other)
            for plugin in active:
                plugin.pod_added(trial, other, fuller)
        refusal = _first(trial, active, fuller)
        if refusal is not None:
            return refusal
    return _first(cycle, active, info)


def _first(cycle: Cycle, active: Sequence[Plugin], info: NodeInfo) -> Refusal | None:
    for plugin in active:
        refusal = plugin.filter(cycle, info)
        if refusal is not None:
            return refusal
    return None


def score(cycle: Cycle, profile: Profile, nodes: Sequence[NodeInfo]) -> list[int]:
    """The weighted sum of all scores, one for each node."""
    totals = [0] * len(nodes)
    for plugin, weight in profile.scorers:
        found = plugin.score(cycle, nodes)
        if found is not None:
            totals = [t + weight * v for t, v in zip(totals, found)]
    return totals


def best(verdict: Verdict, profile: Profile, rng: Random, extra: Mapping[str, int] | None = None) -> str:
    """The node to take; `rng` chooses between equally good ones, `extra` are points that extenders give."""
    nodes = verdict.feasible
    if len(nodes) == 1:
        return nodes[0].name
    totals = score(verdict.cycle, profile, nodes)
    if extra:
        totals = [t + extra.get(n.name, 0) for t, n in zip(totals, nodes)]
    top = max(totals)
    return rng.choice([n.name for n, total in zip(nodes, totals) if total == top])
