"""The taints that a node's conditions call for, and how long pods may stay under NoExecute ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, parse_timestamp, timestamp
from kumo.api.tolerations import tolerates

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_OURS = {*_BY_CONDITION.values(), UNSCHEDULABLE}

Taint = dict[str, Any]


def wanted_taints(node: Object, *, evict: bool, add: bool = True, now: float) -> list[Taint] | None:
    """All the node's taints as they should be; None if they are so.

    `evict`: a node that is not ready gets a NoExecute taint too. It is false while no node at all is ready: then it is
    likelier that the control plane is cut off than that all nodes failed at once (upstream's full disruption). Without
    `add` it only keeps the one it has.
    """
    spec = node.get("spec") or {}
    old: list[Taint] = spec.get("taints") or []
    keys = [key for (kind, value), key in _BY_CONDITION.items() if _says(node, kind, value)]
    wanted = [(key, "NoSchedule") for key in keys]
    if spec.get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    if evict and (add or is_evicted(node)):
        wanted += [(key, "NoExecute") for key in keys if key in (NOT_READY, UNREACHABLE)]
    kept = [t for t in old if not _is_ours(t) or (t.get("key"), t.get("effect")) in wanted]
    have = {(t.get("key"), t.get("effect")) for t in kept}
    made = [{"key": k, "effect": e, "timeAdded": timestamp(now)} for k, e in wanted if (k, e) not in have]
    new = kept + made
    return new if new != old else None


def is_unready(node: Object) -> bool:
    """Whether the node's Ready condition calls for a taint; one that has never said anything isn't tainted."""
    return _says(node, "Ready", "False") or _says(node, "Ready", "Unknown")


def is_evicted(node: Object) -> bool:
    """Whether the node has a NoExecute taint for not being ready."""
    return any(t.get("key") in (NOT_READY, UNREACHABLE) for t in evicting(node))


def _is_ours(taint: Taint) -> bool:
    if taint.get("effect") == "NoExecute":
        return taint.get("key") in (NOT_READY, UNREACHABLE)
    return taint.get("effect") == "NoSchedule" and taint.get("key") in _OURS


def _says(node: Object, kind: str, value: str) -> bool:
    return (conditions.condition(node, kind) or {}).get("status") == value


def evicting(node: Object) -> list[Taint]:
    """The node's NoExecute taints."""
    return [t for t in (node.get("spec") or {}).get("taints") or () if t.get("effect") == "NoExecute"]


def eviction_time(pod: Object, taints: Iterable[Taint], seen: float) -> float | None:
    """When the pod has to leave a node with those taints, epoch seconds; None: never. `seen` stands in for timeAdded.

    A pod that does not tolerate one of them leaves at once; with several tolerations the shortest counts.
    """
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    latest: float | None = None
    for taint in taints:
        start = parse_timestamp(taint["timeAdded"]) if taint.get("timeAdded") else seen
        held = [t for t in tolerations if tolerates(t, taint)]
        if not held:
            return start
        seconds = [int(t["tolerationSeconds"]) for t in held if t.get("tolerationSeconds") is not None]
        if seconds:
            end = start + max(min(seconds), 0)
            latest = end if latest is None else min(latest, end)
    return latest
