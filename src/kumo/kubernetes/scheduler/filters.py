"""Filters: on which nodes a pod can run at all. Each gives the reasons against a node, in upstream's words.

Filters run in upstream's order and the first that refuses a node ends the matter there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto

from kumo.kubernetes.scheduler import affinity, spread, taints, volumes
from kumo.kubernetes.scheduler.affinity import Neighbours
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.requests import ports_conflict
from kumo.kubernetes.scheduler.spread import Spread
from kumo.kubernetes.scheduler.volumes import PodVolumes
from kumo.kubernetes.scheduler.world import World


class Change(Flag):
    """Sorts of change in the cluster that can make a refused pod schedulable."""

    NODE = auto()
    POD_GONE = auto()
    POD_PLACED = auto()
    VOLUME = auto()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node won't do. `final` ones stay when every other pod leaves; `helps` says what could change it."""

    reasons: tuple[str, ...]
    helps: Change
    final: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A pod with what was worked out about it once for all nodes."""

    pod: PodInfo
    neighbours: Neighbours
    spreads: tuple[Spread, ...]
    volumes: PodVolumes
    volume_in_use: bool = False
    """Whether another pod has a claim that only one may have."""


Filter = Callable[[Question, NodeInfo], Refusal | None]


def question(pod: PodInfo, world: World) -> Question:
    """Work out what all nodes are asked."""
    found = volumes.pod_volumes(pod, world.volumes)
    return Question(
        pod=pod,
        neighbours=affinity.neighbours(pod, world),
        spreads=tuple(spread.spreads(pod, world, "DoNotSchedule")),
        volumes=found,
        volume_in_use=volumes.in_use(pod, found, world.nodes.values()),
    )


def _unschedulable(asked: Question, info: NodeInfo) -> Refusal | None:
    if not (info.node.get("spec") or {}).get("unschedulable"):
        return None
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if any(taints.tolerates(t, taint) for t in taints.tolerations(asked.pod)):
        return None
    return Refusal(("node(s) were unschedulable",), Change.NODE, final=True)


def _node_name(asked: Question, info: NodeInfo) -> Refusal | None:
    wanted = asked.pod.spec.get("nodeName")
    if not wanted or wanted == info.name:
        return None
    return Refusal(("node(s) didn't match the requested node name",), Change.NODE, final=True)


def _taints(asked: Question, info: NodeInfo) -> Refusal | None:
    taint = taints.untolerated(info.taints, taints.tolerations(asked.pod), taints.HARD)
    if taint is None:
        return None
    text = f"node(s) had untolerated taint {{{taint.get('key', '')}: {taint.get('value') or ''}}}"
    return Refusal((text,), Change.NODE, final=True)


def _node_affinity(asked: Question, info: NodeInfo) -> Refusal | None:
    if affinity.node_matches(asked.pod, info):
        return None
    return Refusal(("node(s) didn't match Pod's node affinity/selector",), Change.NODE, final=True)


def _ports(asked: Question, info: NodeInfo) -> Refusal | None:
    if not asked.pod.ports or not ports_conflict(asked.pod.ports, info.ports):
        return None
    return Refusal(("node(s) didn't have free ports for the requested pod ports",), Change.NODE | Change.POD_GONE)


def _resources(asked: Question, info: NodeInfo) -> Refusal | None:
    reasons: list[str] = []
    final = False
    room = info.allocatable.get("pods", 0)
    if len(info.pods) + 1 > room:
        reasons.append("Too many pods")
        final = room < 1
    for name, wanted in asked.pod.requests.items():
        there = info.allocatable.get(name, 0)
        if wanted > 0 and wanted > there - info.requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            final = final or wanted > there
    if not reasons:
        return None
    return Refusal(tuple(reasons), Change.NODE | Change.POD_GONE, final=final)


def _volume_restrictions(asked: Question, info: NodeInfo) -> Refusal | None:
    return Refusal((volumes.IN_USE,), Change.POD_GONE | Change.VOLUME) if asked.volume_in_use else None


def _volumes(asked: Question, info: NodeInfo) -> Refusal | None:
    reasons = volumes.on(asked.volumes, info).reasons
    return Refusal(reasons, Change.NODE | Change.VOLUME, final=True) if reasons else None


def _spread(asked: Question, info: NodeInfo) -> Refusal | None:
    helps = Change.NODE | Change.POD_GONE | Change.POD_PLACED
    for constraint in asked.spreads:
        if constraint.key not in info.labels:
            text = "node(s) didn't match pod topology spread constraints (missing required label)"
            return Refusal((text,), helps, final=True)
        if not constraint.allows(info):
            return Refusal(("node(s) didn't match pod topology spread constraints",), helps)
    return None


def _pod_affinity(asked: Question, info: NodeInfo) -> Refusal | None:
    helps = Change.NODE | Change.POD_GONE | Change.POD_PLACED
    found, pod = asked.neighbours, asked.pod
    if pod.affinity and not affinity.near_others(pod, found, info):
        return Refusal(("node(s) didn't match pod affinity rules",), helps, final=True)
    if pod.anti_affinity and not affinity.away_from_others(pod, found, info):
        return Refusal(("node(s) didn't match pod anti-affinity rules",), helps)
    if found.closed and affinity.closed_by_others(found, info):
        return Refusal(("node(s) didn't satisfy existing pods anti-affinity rules",), helps)
    return None


FILTERS: tuple[Filter, ...] = (
    _unschedulable,
    _node_name,
    _taints,
    _node_affinity,
    _ports,
    _resources,
    _volume_restrictions,
    _volumes,
    _spread,
    _pod_affinity,
)


def refuse(asked: Question, info: NodeInfo) -> Refusal | None:
    """What speaks against the node, or None if the pod can run there."""
    for check in FILTERS:
        refusal = check(asked, info)
        if refusal is not None:
            return refusal
    return None
