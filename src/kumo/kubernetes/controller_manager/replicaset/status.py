"""What a replica set reports about its pods."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, labels_of, timestamp
from kumo.kubernetes.controller_manager import pods as p

FAILURE = "ReplicaFailure"


def status(
    replica_set: Object, active: Sequence[Object], terminating: int, failure: tuple[str, str] | None, now: float
) -> dict[str, Any]:
    """The status to write; `failure` is reason and message of a refused creation or deletion."""
    spec = replica_set.get("spec") or {}
    wanted_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    min_ready = int(spec.get("minReadySeconds") or 0)
    found: dict[str, Any] = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(wanted_labels.items() <= labels_of(pod).items() for pod in active),
        "readyReplicas": sum(p.is_ready(pod) for pod in active),
        "availableReplicas": sum(p.is_available(pod, min_ready, now) for pod in active),
        "terminatingReplicas": terminating,
    }
    found = {k: v for k, v in found.items() if v or k in ("replicas", "terminatingReplicas")}
    found["observedGeneration"] = (replica_set.get("metadata") or {}).get("generation") or 0
    old = (replica_set.get("status") or {}).get("conditions") or []
    listed: list[dict[str, Any]] = [c for c in deepcopy(old) if failure is not None or c.get("type") != FAILURE]
    if failure is not None and conditions.find(listed, FAILURE) is None:
        reason, message = failure
        new = {"type": FAILURE, "status": "True", "reason": reason, "message": message}
        conditions.set_condition(listed, new, timestamp(now))
    if listed:
        found["conditions"] = listed
    return found


def next_look(replica_set: Object, active: Sequence[Object], now: float) -> float | None:
    """Seconds until the next ready pod becomes available; None when none is waiting for that."""
    min_ready = int((replica_set.get("spec") or {}).get("minReadySeconds") or 0)
    if not min_ready:
        return None
    times = [since + min_ready - now for pod in active if (since := p.ready_since(pod)) is not None]
    return min((t for t in times if t > 0), default=None)
