"""Whether a node still reports, and what its conditions say when it does not. Pure."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, timestamp

REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
"""The conditions that a kubelet keeps up to date."""


@dataclass(frozen=True, slots=True)
class Grace:
    """How long a node may be silent: once it has reported, and before it reports for the first time (seconds)."""

    running: float = 50.0
    starting: float = 60.0


def has_reported(node: Object) -> bool:
    """Whether the node's kubelet has ever posted a Ready condition."""
    found = conditions.condition(node, "Ready")
    return found is not None and found.get("reason") != "NodeStatusNeverUpdated"


def left(node: Object, silent: float, grace: Grace) -> float:
    """Seconds until the node counts as silent, given for how long nothing came from it; zero or less: it is."""
    return (grace.running if has_reported(node) else grace.starting) - silent


def silenced(node: Object, now: float) -> list[dict[str, Any]] | None:
    """The conditions of a node that is silent; None if they say so already."""
    listed: list[dict[str, Any]] = deepcopy((node.get("status") or {}).get("conditions") or [])
    moment = timestamp(now)
    changed = False
    for kind in REPORTED:
        old = conditions.find(listed, kind)
        if old is None:
            new = {
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": (node.get("metadata") or {}).get("creationTimestamp") or moment,
            }
        else:
            new = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        if old is None or old.get("status") != "Unknown":
            changed |= conditions.set_condition(listed, {"type": kind, "status": "Unknown", **new}, moment)
    return listed if changed else None


def is_ready(node: Object) -> bool:
    """Whether the node's Ready condition is true."""
    return conditions.is_true(node, "Ready")
