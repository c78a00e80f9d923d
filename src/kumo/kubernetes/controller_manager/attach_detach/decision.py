"""What is to be done about the volumes of one node. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kumo.api.conditions import is_true
from kumo.api.csi_names import split_name
from kumo.api.objects import Object, is_deleting, name_of, parse_timestamp, uid_of
from kumo.kubernetes.controller_manager.attach_detach import messages
from kumo.kubernetes.controller_manager.attach_detach.volumes import attached_names, multi_attach_allowed
from kumo.machinery.events import NORMAL, WARNING

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
FORCE_AFTER = 360.0
"""Seconds after which a volume is detached from an unhealthy node that does not let go of it."""
ATTACH_TIMEOUT = 120.0
"""Seconds after which pods are told that no attacher answers."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A volume that pods of the node use."""

    volume: Object
    pods: Sequence[Object]


@dataclass(frozen=True, slots=True)
class NodeWorld:
    """One node: `node` is None for one that is gone. Volumes go by their unique names.

    `attachments`: the VolumeAttachments on it; `elsewhere`: the pods that use a volume on other nodes it is attached
    to; `in_use`: what the kubelet has mounted, as last heard; `asked`: since when (`now` is of the same clock, seconds
    since the epoch) detaching is wished.
    """

    name: str
    node: Object | None
    wanted: Mapping[str, Wanted]
    attachments: Mapping[str, Object]
    elsewhere: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    in_use: frozenset[str] = frozenset()
    asked: Mapping[str, float] = field(default_factory=dict)
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class PodEvent:
    """An event for a pod; `once` is said no second time."""

    pod: Object
    kind: str
    reason: str
    message: str
    once: tuple[str, ...]


@dataclass(slots=True)
class Plan:
    """Volumes to `attach`, to `detach` (those in `forced` without asking the node), what the Node's status lists.

    `waiting` are volumes to be detached as soon as they may; `blocked` wait for another node; `again`: seconds after
    which to look anew.
    """

    report: list[str] = field(default_factory=list)
    attach: list[str] = field(default_factory=list)
    detach: list[str] = field(default_factory=list)
    forced: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    events: list[PodEvent] = field(default_factory=list)
    again: float | None = None


def decide(world: NodeWorld) -> Plan:
    """The plan for a node."""
    plan = Plan()
    for name in sorted(set(world.attachments) - set(world.wanted)):
        _unwanted(world, name, plan)
    for name, wish in sorted(world.wanted.items()):
        _wanted(world, name, wish, plan)
    going = set(plan.detach) | {n for n, a in world.attachments.items() if is_deleting(a)}
    attached = {n for n, a in world.attachments.items() if (a.get("status") or {}).get("attached")} - going
    listed = attached_names(world.node)
    kept = [n for n in listed if n in attached or split_name(n) is None]
    plan.report = kept + sorted(attached - set(kept))
    for name in sorted(attached - set(listed)):
        if name in world.wanted:
            _tell_attached(name, world.wanted[name], world.attachments[name], plan)
    return plan


def _unwanted(world: NodeWorld, name: str, plan: Plan) -> None:
    if is_deleting(world.attachments[name]):
        return
    plan.waiting.add(name)
    since = world.now - world.asked.get(name, world.now)
    expired = since > FORCE_AFTER
    out_of_service = _is_out_of_service(world.node)
    healthy = world.node is not None and is_true(world.node, "Ready")
    if name in world.in_use and not out_of_service and not (expired and not healthy):
        if not expired:
            _sooner(plan, FORCE_AFTER - since + 0.1)
        return
    plan.detach.append(name)
    if out_of_service or expired:
        plan.forced.add(name)


def _is_out_of_service(node: Object | None) -> bool:
    taints = ((node or {}).get("spec") or {}).get("taints") or ()
    return any(t.get("key") == OUT_OF_SERVICE for t in taints)


def _wanted(world: NodeWorld, name: str, wish: Wanted, plan: Plan) -> None:
    attachment = world.attachments.get(name)
    if attachment is not None:
        _attaching(world, wish, attachment, plan)
    elif name in world.elsewhere and not multi_attach_allowed(wish.volume):
        plan.blocked.add(name)
        for pod in wish.pods:
            text = messages.multi_attach(name_of(wish.volume), pod, world.elsewhere[name])
            once = ("multi", world.name, name, uid_of(pod))
            plan.events.append(PodEvent(pod, WARNING, messages.FAILED, text, once))
    else:
        plan.attach.append(name)


def _attaching(world: NodeWorld, wish: Wanted, attachment: Object, plan: Plan) -> None:
    status: Mapping[str, Any] = attachment.get("status") or {}
    error = status.get("attachError")
    if is_deleting(attachment):
        _tell_failed(wish, attachment, "volume attachment is being deleted", "deleting", plan)
    elif status.get("attached"):
        return
    elif error:
        _tell_failed(wish, attachment, error.get("message") or "", str(error.get("time")), plan)
    else:
        _unanswered(world, wish, attachment, plan)


def _unanswered(world: NodeWorld, wish: Wanted, attachment: Object, plan: Plan) -> None:
    age = world.now - parse_timestamp(attachment["metadata"]["creationTimestamp"])
    periods = int(age // ATTACH_TIMEOUT)
    _sooner(plan, (periods + 1) * ATTACH_TIMEOUT - age + 0.1)
    if periods > 0:
        source = wish.volume["spec"]["csi"]
        why = messages.timed_out(source["driver"], source["volumeHandle"])
        _tell_failed(wish, attachment, why, str(periods), plan)


def _tell_failed(wish: Wanted, attachment: Object, why: str, mark: str, plan: Plan) -> None:
    text = messages.failed(name_of(wish.volume), why)
    for pod in wish.pods:
        once = ("failed", uid_of(attachment), mark, uid_of(pod))
        plan.events.append(PodEvent(pod, WARNING, messages.FAILED, text, once))


def _tell_attached(name: str, wish: Wanted, attachment: Object, plan: Plan) -> None:
    text = messages.attached(name_of(wish.volume))
    for pod in wish.pods:
        once = ("attached", uid_of(attachment), name, uid_of(pod))
        plan.events.append(PodEvent(pod, NORMAL, messages.SUCCEEDED, text, once))


def _sooner(plan: Plan, delay: float) -> None:
    plan.again = delay if plan.again is None else min(plan.again, delay)
