"""What a stateful set reports, and questions about its pods that need no more than the pod."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kumo.api.objects import Object, is_deleting
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.revisions import hash_of
from kumo.kubernetes.controller_manager.statefulset.identity import replicas

Status = dict[str, Any]
COUNTS = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
_SHOWN = ("replicas", "availableReplicas", "collisionCount")


def is_created(pod: Object) -> bool:
    """Whether the API server has the pod (one that is only wanted has no phase)."""
    return bool((pod.get("status") or {}).get("phase"))


def is_running_and_ready(pod: Object) -> bool:
    """Whether the pod runs and is ready."""
    return p.phase(pod) == "Running" and p.is_ready(pod)


def is_unavailable(pod: Object, min_ready: int, now: float) -> bool:
    """Whether nobody can count on the pod: not ready for long enough, or on its way out."""
    return is_deleting(pod) or not p.is_available(pod, min_ready, now)


def min_ready(stateful_set: Object) -> int:
    """`spec.minReadySeconds`."""
    return int(stateful_set["spec"].get("minReadySeconds") or 0)


def counted(stateful_set: Object, pods: Iterable[Object], current: str, update: str, now: float) -> Status:
    """The five counts over `pods`; `current` and `update` are names of revisions."""
    least = min_ready(stateful_set)
    counts = dict.fromkeys(COUNTS, 0)
    for pod in pods:
        if not is_created(pod):
            continue
        counts["replicas"] += 1
        if is_running_and_ready(pod):
            counts["readyReplicas"] += 1
            counts["availableReplicas"] += p.is_available(pod, least, now)
        if not is_deleting(pod):
            counts["currentReplicas"] += hash_of(pod) == current
            counts["updatedReplicas"] += hash_of(pod) == update
    return dict(counts)


def completed(stateful_set: Object, status: Status) -> Status:
    """The status in which a rolling update that has reached every pod has become the current revision."""
    strategy = (stateful_set["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate"
    size = replicas(stateful_set)
    if strategy != "RollingUpdate" or any(status[n] != size for n in ("updatedReplicas", "readyReplicas", "replicas")):
        return status
    return {**status, "currentReplicas": status["updatedReplicas"], "currentRevision": status["updateRevision"]}


def shown(status: Status) -> Status:
    """The status as it is written: counts of zero are left out where upstream leaves them out."""
    return {k: v for k, v in status.items() if v or k in _SHOWN}


def next_look(stateful_set: Object, pods: Sequence[Object], now: float) -> float | None:
    """Seconds until the next ready pod becomes available; None when none is waiting for that."""
    least = min_ready(stateful_set)
    if not least:
        return None
    times = [since + least - now for pod in pods if (since := p.ready_since(pod)) is not None]
    return min((t for t in times if t > 0), default=None)
