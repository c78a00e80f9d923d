"""Which pods of a replica set are deleted first when there are too many (client-go's ActivePodsWithRanks)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from kumo.api.objects import Object, annotations_of, parse_timestamp
from kumo.kubernetes.controller_manager import pods as p

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def to_delete(pods: Sequence[Object], related: Sequence[Object], count: int, now: float) -> list[Object]:
    """`count` of the pods, the most dispensable first.

    `related` are the active pods of all replica sets of the same owner: nodes that hold many of them give first.
    """
    if count >= len(pods):
        return list(pods)
    crowd = Counter((pod.get("spec") or {}).get("nodeName") or "" for pod in related)
    return sorted(pods, key=lambda pod: _rank(pod, crowd, now))[:count]


def _rank(pod: Object, crowd: Counter[str], now: float) -> tuple[float, ...]:
    node = (pod.get("spec") or {}).get("nodeName") or ""
    ready = p.is_ready(pod)
    return (
        1 if node else 0,
        _PHASES.get(p.phase(pod), 0),
        1 if ready else 0,
        _cost(pod),
        -crowd[node],
        _age(p.ready_since(pod), now) if ready else 0,
        -_restarts(pod),
        _age(_created(pod), now),
    )


def _cost(pod: Object) -> int:
    try:
        return int(annotations_of(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _created(pod: Object) -> float | None:
    text = (pod.get("metadata") or {}).get("creationTimestamp")
    return parse_timestamp(text) if text else None


def _age(since: float | None, now: float) -> float:
    """Ages count by orders of magnitude, so that a second more or less decides nothing."""
    return math.floor(math.log2(max(now - since, 1.0))) if since is not None else -1.0


def _restarts(pod: Object) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(s.get("restartCount") or 0) for s in statuses), default=0)
