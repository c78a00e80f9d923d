"""A job and its pods in, what to write out. Pure; the bookkeeping of upstream's job tracking by finalizers.

A pod that has ended carries the tracking finalizer until its uid is in `status.uncountedTerminatedPods`; once the
finalizer is off, the uid moves from there into the counts. So no pod is counted twice or never, whatever dies when.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, is_deleting, parse_timestamp, timestamp, uid_of
from kumo.kubernetes.controller_manager import pods as p

TRACKING = "batch.kubernetes.io/job-tracking"
_FIRST_BACKOFF, _LONGEST_BACKOFF = 10.0, 600.0
_WORDS = {
    "CompletionsReached": "Reached expected number of succeeded pods",
    "BackoffLimitExceeded": "Job has reached the specified backoff limit",
    "DeadlineExceeded": "Job was active longer than specified deadline",
}

Status = dict[str, Any]


@dataclass(slots=True)
class Plan:
    """The status to write first; then pods to let go (drop the finalizer), to delete, and how many to create."""

    status: Status
    release: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    create: int = 0
    again: float | None = None
    finished: str = ""
    """`Complete` or `Failed` if the job ends with this plan."""


def is_finished(job: Object) -> bool:
    """Whether the job is complete or has failed."""
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


def has_finalizer(pod: Object) -> bool:
    """Whether the pod is still to be counted."""
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def expiry(job: Object) -> float | None:
    """When a finished job is to be deleted (epoch seconds), by `ttlSecondsAfterFinished`."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    for kind in ("Complete", "Failed"):
        found = conditions.condition(job, kind)
        if ttl is not None and found is not None and found.get("status") == "True":
            return parse_timestamp(found["lastTransitionTime"]) + int(ttl)
    return None


def plan(job: Object, pods: Sequence[Object], now: float, *, settled: bool) -> Plan:
    """The next step; without `settled` (the informer is late) nothing is created."""
    spec = job["spec"]
    status: Status = deepcopy(job.get("status") or {})
    uncounted = _count(status, pods)
    active = [pod for pod in pods if p.is_active(pod)]
    suspended = bool(spec.get("suspend"))
    if not status.get("startTime") and not suspended:
        status["startTime"] = timestamp(now)
    ended = [pod for pod in pods if has_finalizer(pod) and (p.has_ended(pod) or is_deleting(pod))]
    made = Plan(status=status, release=ended)
    reason = _verdict(spec, status, uncounted, active, pods, now)
    if reason:
        made.delete = active
        _say_target(status, reason, now)
        if not active and not ended and not any(uncounted.values()) and all(map(p.has_ended, pods)):
            made.finished = _finish(status, reason, now)
    elif settled:
        _fill(made, spec, status, uncounted, active, pods, now, suspended=suspended)
    _suspend(status, now, suspended=suspended)
    status["active"], status["ready"] = len(active), sum(map(p.is_ready, active))
    status["terminating"] = sum(is_deleting(pod) and not p.has_ended(pod) for pod in pods)
    made.status = {k: v for k, v in status.items() if v or k in ("ready", "terminating", "uncountedTerminatedPods")}
    return made


def _count(status: Status, pods: Sequence[Object]) -> dict[str, set[str]]:
    """Move uids through the books in place; what is not counted yet, by outcome."""
    waiting = {uid_of(pod) for pod in pods if has_finalizer(pod)}
    listed = status.get("uncountedTerminatedPods") or {}
    uncounted: dict[str, set[str]] = {}
    for outcome in ("succeeded", "failed"):
        before = set(listed.get(outcome) or ())
        status[outcome] = int(status.get(outcome) or 0) + len(before - waiting)
        uncounted[outcome] = before & waiting
    known = uncounted["succeeded"] | uncounted["failed"]
    for pod in pods:
        if has_finalizer(pod) and uid_of(pod) not in known:
            if p.phase(pod) == "Succeeded":
                uncounted["succeeded"].add(uid_of(pod))
            elif p.has_ended(pod) or is_deleting(pod):
                uncounted["failed"].add(uid_of(pod))
    status["uncountedTerminatedPods"] = {k: sorted(v) for k, v in uncounted.items() if v}
    return uncounted


def _total(status: Status, uncounted: dict[str, set[str]], outcome: str) -> int:
    return int(status.get(outcome) or 0) + len(uncounted[outcome])


def _verdict(
    spec: dict[str, Any],
    status: Status,
    uncounted: dict[str, set[str]],
    active: Sequence[Object],
    pods: Sequence[Object],
    now: float,
) -> str:
    """The reason for which the job ends, or nothing."""
    target = conditions.find(status.get("conditions"), "FailureTarget")
    target = target or conditions.find(status.get("conditions"), "SuccessCriteriaMet")
    if target is not None:
        return str(target["reason"])
    limit = int(spec.get("backoffLimit", 6))
    if _total(status, uncounted, "failed") > limit or _restarts_exceed(spec, pods, limit):
        return "BackoffLimitExceeded"
    if _is_overdue(spec, status, now):
        return "DeadlineExceeded"
    succeeded, completions = _total(status, uncounted, "succeeded"), spec.get("completions")
    done = succeeded > 0 and not active if completions is None else succeeded >= int(completions)
    return "CompletionsReached" if done else ""


def _is_overdue(spec: dict[str, Any], status: Status, now: float) -> bool:
    deadline, start = spec.get("activeDeadlineSeconds"), status.get("startTime")
    if deadline is None or spec.get("suspend") or not start:
        return False
    return now >= parse_timestamp(start) + int(deadline)


def _restarts_exceed(spec: dict[str, Any], pods: Sequence[Object], limit: int) -> bool:
    if ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    count = sum(
        int(s.get("restartCount") or 0)
        for pod in pods
        if p.phase(pod) in ("Running", "Pending")
        for s in (pod.get("status") or {}).get("containerStatuses") or ()
    )
    return count > 0 if limit == 0 else count >= limit


def _say_target(status: Status, reason: str, now: float) -> None:
    kind = "SuccessCriteriaMet" if reason == "CompletionsReached" else "FailureTarget"
    _say(status, kind, reason, now)


def _finish(status: Status, reason: str, now: float) -> str:
    kind = "Complete" if reason == "CompletionsReached" else "Failed"
    _say(status, kind, reason, now)
    if kind == "Complete":
        status["completionTime"] = timestamp(now)
    return kind


def _say(status: Status, kind: str, reason: str, now: float) -> None:
    listed: list[dict[str, Any]] = status.setdefault("conditions", [])
    if conditions.find(listed, kind) is None:
        moment = timestamp(now)
        new = {"type": kind, "status": "True", "reason": reason, "message": _WORDS[reason], "lastProbeTime": moment}
        conditions.set_condition(listed, new, moment)


def _suspend(status: Status, now: float, *, suspended: bool) -> None:
    listed: list[dict[str, Any]] = status.setdefault("conditions", [])
    old = conditions.find(listed, "Suspended")
    if suspended:
        new = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
        conditions.set_condition(listed, new, timestamp(now))
        status.pop("startTime", None)
    elif old is not None and old.get("status") == "True":
        new = {"type": "Suspended", "status": "False", "reason": "JobResumed", "message": "Job resumed"}
        conditions.set_condition(listed, new, timestamp(now))


def _fill(
    made: Plan,
    spec: dict[str, Any],
    status: Status,
    uncounted: dict[str, set[str]],
    active: Sequence[Object],
    pods: Sequence[Object],
    now: float,
    *,
    suspended: bool,
) -> None:
    """Decide how many pods to make or delete, and when to look again."""
    parallelism, completions = int(spec.get("parallelism", 1)), spec.get("completions")
    succeeded = _total(status, uncounted, "succeeded")
    if completions is None:
        wanted = len(active) if succeeded else parallelism
    else:
        wanted = min(int(completions) - succeeded, parallelism)
    wanted = 0 if suspended else wanted
    if len(active) > wanted:
        made.delete = sorted(active, key=lambda pod: (p.is_ready(pod), p.phase(pod) == "Running"))[
            : len(active) - wanted
        ]
    replacing = sum(is_deleting(pod) and not p.has_ended(pod) for pod in pods)
    if spec.get("podReplacementPolicy") == "Failed":
        wanted -= replacing
    missing = wanted - len(active)
    waits: list[float] = []
    if missing > 0:
        delay = _backoff(pods, _total(status, uncounted, "failed"), now)
        if delay > 0:
            waits.append(delay)
        else:
            made.create = missing
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and status.get("startTime"):
        waits.append(parse_timestamp(status["startTime"]) + int(deadline) - now)
    made.again = max(min(waits), 0.01) if waits else None


def _backoff(pods: Sequence[Object], failed: int, now: float) -> float:
    """Seconds to wait before another pod, which double with each failure in a row."""
    ends = [_ended_at(pod) for pod in pods if p.phase(pod) == "Failed"]
    if not failed or not ends:
        return 0.0
    return max(ends) + min(_FIRST_BACKOFF * 2.0 ** (failed - 1), _LONGEST_BACKOFF) - now


def _ended_at(pod: Object) -> float:
    times = [
        (s.get("state") or {}).get("terminated", {}).get("finishedAt")
        for s in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    found = [parse_timestamp(t) for t in times if t]
    return max(found) if found else parse_timestamp(pod["metadata"]["creationTimestamp"])
