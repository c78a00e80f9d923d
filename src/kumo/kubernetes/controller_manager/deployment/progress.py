"""What a deployment reports: counts, and the conditions Available, Progressing and ReplicaFailure."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, name_of, parse_timestamp, timestamp
from kumo.kubernetes.controller_manager.deployment.sets import Limits, Set, wanted

NO_DEADLINE = 2147483647
PROGRESSING, AVAILABLE, FAILURE = "Progressing", "Available", "ReplicaFailure"
NEW_SET_AVAILABLE = "NewReplicaSetAvailable"
DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"

Status = dict[str, Any]


def deadline(deployment: Object) -> int | None:
    """`spec.progressDeadlineSeconds`, or None where there is none."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or int(seconds) == NO_DEADLINE else int(seconds)


def put(status: Status, kind: str, value: str, reason: str, message: str, now: float) -> None:
    """Set a condition of the status; one of the same status and reason stays as it is, as upstream does."""
    listed: list[dict[str, Any]] = status.setdefault("conditions", [])
    old = conditions.find(listed, kind)
    if old is not None and old.get("status") == value and old.get("reason") == reason:
        return
    moment = timestamp(now)
    since = old["lastTransitionTime"] if old is not None and old.get("status") == value else moment
    new = {
        "type": kind,
        "status": value,
        "lastUpdateTime": moment,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    status["conditions"] = [c for c in listed if c.get("type") != kind] + [new]


def drop(status: Status, kind: str) -> None:
    """Remove a condition from the status."""
    status["conditions"] = [c for c in status.get("conditions") or () if c.get("type") != kind]


def counted(deployment: Object, new: Set | None, sets: Sequence[Set], limits: Limits, now: float) -> Status:
    """The status with its counts and the condition Available; `sets` are all sets, the new one among them."""
    old: Status = deployment.get("status") or {}
    total, available = sum(s.replicas for s in sets), sum(s.available for s in sets)
    counts = {
        "observedGeneration": deployment["metadata"].get("generation") or 0,
        "replicas": total,
        "updatedReplicas": new.replicas if new else 0,
        "readyReplicas": sum(s.ready for s in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(sum(s.wanted for s in sets) - available, 0),
        "terminatingReplicas": sum(int((s.object.get("status") or {}).get("terminatingReplicas") or 0) for s in sets),
        "collisionCount": old.get("collisionCount"),
    }
    status: Status = {k: v for k, v in counts.items() if v or k == "terminatingReplicas"}
    status["conditions"] = deepcopy(old.get("conditions") or [])
    if available >= wanted(deployment) - limits.unavailable:
        text = "Deployment has minimum availability."
        put(status, AVAILABLE, "True", "MinimumReplicasAvailable", text, now)
    else:
        text = "Deployment does not have minimum availability."
        put(status, AVAILABLE, "False", "MinimumReplicasUnavailable", text, now)
    return status


def is_complete(deployment: Object, status: Status) -> bool:
    """Whether all pods are of the current template and available, and no others are left."""
    size = wanted(deployment)
    generation = deployment["metadata"].get("generation") or 0
    counts = (status.get(n) or 0 for n in ("updatedReplicas", "replicas", "availableReplicas"))
    return all(c == size for c in counts) and (status.get("observedGeneration") or 0) >= generation


def _progressed(old: Status, new: Status) -> bool:
    def of(status: Status, name: str) -> int:
        return int(status.get(name) or 0)

    leftover_old = of(old, "replicas") - of(old, "updatedReplicas")
    leftover_new = of(new, "replicas") - of(new, "updatedReplicas")
    grew = any(of(new, n) > of(old, n) for n in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grew or leftover_new < leftover_old


def remaining(deployment: Object, status: Status, now: float) -> float | None:
    """Seconds until the rollout is late (negative: it is); None when no rollout is under way or none can be late."""
    limit, found = deadline(deployment), conditions.find(status.get("conditions"), PROGRESSING)
    if limit is None or found is None or found.get("reason") == NEW_SET_AVAILABLE:
        return None
    return parse_timestamp(found["lastUpdateTime"]) + limit - now


def rolled(deployment: Object, new: Set | None, sets: Sequence[Set], limits: Limits, now: float) -> Status:
    """The whole status during and after a rollout."""
    old: Status = deployment.get("status") or {}
    status = counted(deployment, new, sets, limits, now)
    if deadline(deployment) is None:
        drop(status, PROGRESSING)
    else:
        _judge(deployment, new, old, status, now)
    failure = _failure(new, sets)
    if failure is not None:
        put(status, FAILURE, failure["status"], failure["reason"], failure["message"], now)
    else:
        drop(status, FAILURE)
    return status


def _judge(deployment: Object, new: Set | None, old: Status, status: Status, now: float) -> None:
    current = conditions.find(status.get("conditions"), PROGRESSING)
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if current is not None and current.get("reason") == NEW_SET_AVAILABLE and settled:
        return
    subject = f'ReplicaSet "{new.name}"' if new else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, status):
        put(status, PROGRESSING, "True", NEW_SET_AVAILABLE, f"{subject} has successfully progressed.", now)
    elif _progressed(old, status):
        if current is not None and current.get("status") == "True":
            _touch(status, f"{subject} is progressing.", now)
        else:
            drop(status, PROGRESSING)
            put(status, PROGRESSING, "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
    elif _is_late(deployment, current, status, now):
        put(status, PROGRESSING, "False", DEADLINE_EXCEEDED, f"{subject} has timed out progressing.", now)


def _touch(status: Status, message: str, now: float) -> None:
    """The rollout went on: the deadline counts from now."""
    found = conditions.find(status["conditions"], PROGRESSING)
    since = found["lastTransitionTime"] if found else timestamp(now)
    drop(status, PROGRESSING)
    put(status, PROGRESSING, "True", "ReplicaSetUpdated", message, now)
    status["conditions"][-1]["lastTransitionTime"] = since


def _is_late(deployment: Object, current: dict[str, Any] | None, status: Status, now: float) -> bool:
    if current is not None and current.get("reason") == DEADLINE_EXCEEDED:
        return True
    left = remaining(deployment, status, now)
    return left is not None and left < 0


def _failure(new: Set | None, sets: Sequence[Set]) -> dict[str, Any] | None:
    ordered = ([new] if new else []) + [s for s in sets if s is not new]
    for found in ordered:
        failed = conditions.condition(found.object, FAILURE)
        if failed is not None:
            return failed
    return None


def paused(deployment: Object, now: float) -> Status | None:
    """The status with Progressing moved into or out of a pause; None when nothing moves."""
    if deadline(deployment) is None:
        return None
    status: Status = deepcopy(deployment.get("status") or {})
    current = conditions.find(status.get("conditions"), PROGRESSING)
    reason = current.get("reason") if current else ""
    if reason == DEADLINE_EXCEEDED:
        return None
    if deployment["spec"].get("paused") and reason != "DeploymentPaused":
        put(status, PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)
        return status
    if not deployment["spec"].get("paused") and reason == "DeploymentPaused":
        put(status, PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        return status
    return None
