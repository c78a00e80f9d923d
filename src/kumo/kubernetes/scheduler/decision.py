"""The decision: a pod and the world in, a node or the reasons against every node out. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from kumo.kubernetes.scheduler import scores
from kumo.kubernetes.scheduler.filters import Change, Refusal, question, refuse
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.volumes import NodeVolumes, on
from kumo.kubernetes.scheduler.world import World

ALL_CHANGES = Change.NODE | Change.POD_GONE | Change.POD_PLACED | Change.VOLUME
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Placed:
    """The pod goes to `node`; `volumes` says what has to be bound before."""

    node: str
    volumes: NodeVolumes


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node will do. `helps` are the changes after which it is worth to look again."""

    total: int
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    trouble: str = ""
    helps: Change = ALL_CHANGES

    def message(self, preemption: str = "") -> str:
        """What the condition and the event say, in upstream's form."""
        if self.total == 0:
            return "no nodes available to schedule pods"
        text = summary(self.total, [self.trouble] if self.trouble else _histogram(self.refusals))
        return f"{text} {preemption}" if preemption else text


def summary(total: int, reasons: Sequence[str]) -> str:
    """`0/3 nodes are available: 1 reason, 2 another.`"""
    return f"0/{total} nodes are available: {', '.join(reasons)}."


def _histogram(refusals: Mapping[str, Refusal]) -> list[str]:
    counts = Counter(reason for refusal in refusals.values() for reason in refusal.reasons)
    return sorted(f"{count} {reason}" for reason, count in counts.items())


def decide(pod: PodInfo, world: World, rng: Random) -> Placed | Unschedulable:
    """Choose a node for the pod; `rng` chooses between equally good ones."""
    candidates = world.candidates()
    if not candidates:
        return Unschedulable(0, helps=Change.NODE)
    asked = question(pod, world)
    if asked.volumes.trouble:
        return Unschedulable(len(candidates), trouble=asked.volumes.trouble, helps=Change.VOLUME)
    possible: list[NodeInfo] = []
    refusals: dict[str, Refusal] = {}
    for info in candidates:
        refusal = refuse(asked, world.with_nominated(pod, info))
        if refusal is None:
            possible.append(info)
        else:
            refusals[info.name] = refusal
    if not possible:
        helps = Change(0)
        for refusal in refusals.values():
            helps |= refusal.helps
        return Unschedulable(len(candidates), refusals, helps=helps)
    node = _best(pod, possible, world, rng)
    return Placed(node, on(asked.volumes, world.nodes[node]))


def _best(pod: PodInfo, possible: list[NodeInfo], world: World, rng: Random) -> str:
    if len(possible) == 1:
        return possible[0].name
    totals = scores.score(pod, possible, world)
    top = max(totals)
    return rng.choice([n.name for n, total in zip(possible, totals) if total >= top - _TOLERANCE])
