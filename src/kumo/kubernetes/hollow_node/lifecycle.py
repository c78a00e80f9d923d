"""A pod's life on a hollow node, pure: what is to be written next, and when to look again.

All of it follows from the pod as the API server has it, so that a fleet that was killed goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from kumo.api.objects import Object, annotations_of, is_deleting, parse_timestamp, timestamp
from kumo.kubernetes.hollow_node import statuses
from kumo.kubernetes.hollow_node.config import EXIT_CODE, RUN_SECONDS, START_SECONDS, STOP_SECONDS
from kumo.kubernetes.hollow_node.statuses import KILLED, Place, Status

TERMINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about a pod: write a `status`, remove it (`gone`), look again `after` some seconds."""

    status: Status | None = None
    gone: bool = False
    after: float | None = None


def next_step(pod: Object, place: Place, refusal: tuple[str, str], now: float) -> Step:
    """The next step in a pod's life; `refusal` is why the node does not take it (reason, message), empty if it does."""
    phase = (pod.get("status") or {}).get("phase") or "Pending"
    if is_deleting(pod):
        return _end(pod, phase, now)
    if phase in TERMINAL:
        return Step()
    if phase == "Pending" and not statuses.containers_of(pod):
        return _begin(pod, place, refusal, now)
    return _go_on(pod, place, now)


def _end(pod: Object, phase: str, now: float) -> Step:
    """The pod is being deleted: its containers end first, then it goes."""
    if phase in TERMINAL or not statuses.containers_of(pod):
        return Step(gone=True)
    grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
    since = parse_timestamp(pod["metadata"]["deletionTimestamp"]) - grace
    wait = min(_seconds(pod, STOP_SECONDS) or 0.0, grace) - (now - since)
    if wait > 0:
        return Step(after=wait)
    # A program that is asked to end ends well, unless the pod says otherwise (so do kubemark's containers).
    return Step(statuses.ended(pod, int(_seconds(pod, EXIT_CODE) or 0), now), gone=True)


def _begin(pod: Object, place: Place, refusal: tuple[str, str], now: float) -> Step:
    if refusal[0]:
        return Step(statuses.refused(pod, *refusal, now))
    wait = (_seconds(pod, START_SECONDS) or 0.0) - (now - _scheduled_at(pod, now))
    if wait > 0:
        return Step(after=wait)
    fault = _config_fault(pod)
    if fault is not None:
        return Step(statuses.stuck(pod, place, fault, now))
    return Step(statuses.running(pod, place, now), after=_left(pod, place, now, now))


def _go_on(pod: Object, place: Place, now: float) -> Step:
    """The pod runs: it may be over, or be asked to run something else."""
    limit = pod["spec"].get("activeDeadlineSeconds")
    begun = parse_timestamp(pod["status"].get("startTime") or timestamp(now))
    if limit is not None and now - begun >= limit:
        text = "Pod was active on the node longer than the specified deadline"
        why = {"phase": "Failed", "reason": "DeadlineExceeded", "message": text}
        return Step(statuses.ended(pod, KILLED, now) | why)
    started = _started_at(pod, now)
    again = _left(pod, place, started, now)
    if any("waiting" in (s.get("state") or {}) for s in statuses.containers_of(pod)):
        return Step(after=again)
    run = _run_seconds(pod, place)
    if run is not None and now - started >= run:
        return Step(statuses.ended(pod, int(_seconds(pod, EXIT_CODE) or 0), now))
    fresh = statuses.running(pod, place, now)
    return Step(None if statuses.same(pod["status"], fresh) else fresh, after=again)


def _config_fault(pod: Object) -> tuple[str, str] | None:
    """A sub path that no kubelet would mount: the container and the message."""
    for container in pod["spec"]["containers"]:
        known = {e["name"]: e.get("value") or "" for e in container.get("env") or ()}
        for mount in container.get("volumeMounts") or ():
            path = mount.get("subPathExpr") or ""
            for name, value in known.items():
                path = path.replace(f"$({name})", value)
            if path.startswith("/"):
                return container["name"], f"error SubPath `{path}` must not be an absolute path"
            if ".." in path.split("/"):
                return container["name"], f"unable to provision SubPath `{path}`: must not contain '..'"
    return None


def _seconds(pod: Object, annotation: str) -> float | None:
    """The number in an annotation; None without it and for what is no number."""
    try:
        return float(annotations_of(pod)[annotation])
    except (KeyError, ValueError):
        return None


def _run_seconds(pod: Object, place: Place) -> float | None:
    if (pod["spec"].get("restartPolicy") or "Always") == "Always":
        return None
    found = _seconds(pod, RUN_SECONDS)
    return place.run_seconds if found is None else found


def _left(pod: Object, place: Place, started: float, now: float) -> float | None:
    """How long until something is due."""
    limit, run = pod["spec"].get("activeDeadlineSeconds"), _run_seconds(pod, place)
    due = [] if run is None else [started + run]
    if limit is not None:
        begun = (pod.get("status") or {}).get("startTime")
        due.append((parse_timestamp(begun) if begun else now) + limit)
    return max(min(due) - now, 0.01) if due else None


def _scheduled_at(pod: Object, now: float) -> float:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("lastTransitionTime"):
            return parse_timestamp(condition["lastTransitionTime"])
    return parse_timestamp(pod["metadata"].get("creationTimestamp") or timestamp(now))


def _started_at(pod: Object, now: float) -> float:
    found = [
        parse_timestamp(s["state"]["running"]["startedAt"])
        for s in statuses.containers_of(pod)
        if "running" in (s.get("state") or {})
    ]
    return max(found, default=now)
