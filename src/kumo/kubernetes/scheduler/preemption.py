"""Preemption: which less important pods would have to go so that a pod fits. Pure; the shell deletes them.

As upstream's DefaultPreemption without PodDisruptionBudgets: a victim set is made as small as possible by taking pods
back, most important first; among nodes the one whose victims matter least wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kumo.kubernetes.scheduler.decision import Unschedulable, summary
from kumo.kubernetes.scheduler.filters import question, refuse
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.world import World

NOT_ELIGIBLE = "not eligible due to preemptionPolicy=Never."
_NOT_HELPFUL = "Preemption is not helpful for scheduling"
_NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(frozen=True, slots=True)
class Preemption:
    """The node to make room on and the pods to delete there; no node and a `message` when it can't help."""

    node: str = ""
    victims: tuple[PodInfo, ...] = ()
    message: str = ""


def preempt(pod: PodInfo, world: World, verdict: Unschedulable) -> Preemption:
    """Look for a node where the pod would fit without the pods of lower priority."""
    if verdict.total == 0:
        return Preemption()
    if pod.spec.get("preemptionPolicy") == "Never":
        return Preemption(message=f"preemption: {NOT_ELIGIBLE}")
    reasons: Counter[str] = Counter()
    found: list[tuple[NodeInfo, list[PodInfo]]] = []
    for info in world.candidates():
        refusal = verdict.refusals.get(info.name)
        if refusal is None or refusal.final:
            reasons[_NOT_HELPFUL] += 1
            continue
        victims = _victims(pod, info, world)
        if victims:
            found.append((info, victims))
        else:
            reasons[_NO_VICTIMS] += 1
    if not found:
        lines = sorted(f"{count} {reason}" for reason, count in reasons.items())
        return Preemption(message=f"preemption: {summary(verdict.total, lines)}")
    node, victims = min(found, key=lambda f: _cost(f[1]))
    return Preemption(node.name, tuple(victims))


def _victims(pod: PodInfo, info: NodeInfo, world: World) -> list[PodInfo]:
    lower = [p for p in info.pods.values() if p.priority < pod.priority]
    if not lower:
        return []
    emptier = info.clone()
    for other in lower:
        emptier.remove_pod(other.uid)
    if not _fits(pod, emptier, world):
        return []
    victims: list[PodInfo] = []
    for other in sorted(lower, key=_importance):
        emptier.add_pod(other)
        if not _fits(pod, emptier, world):
            emptier.remove_pod(other.uid)
            victims.append(other)
    return victims


def _fits(pod: PodInfo, info: NodeInfo, world: World) -> bool:
    changed = World({**world.nodes, info.name: info}, world.namespace_labels, world.volumes, world.nominated)
    return refuse(question(pod, changed), changed.with_nominated(pod, info)) is None


def _importance(pod: PodInfo) -> tuple[int, str]:
    return (-pod.priority, (pod.pod.get("status") or {}).get("startTime") or "")


def _cost(victims: Sequence[PodInfo]) -> tuple[int, int, int]:
    return (max(v.priority for v in victims), sum(v.priority for v in victims), len(victims))
