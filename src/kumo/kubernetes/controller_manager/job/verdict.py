"""Whether a job is to end, and with which condition; what suspending and resuming write. Pure.

`SuccessCriteriaMet` and `FailureTarget` come first; `books` turns them into `Complete` and `Failed` when all pods are
counted and gone.
"""

from __future__ import annotations

from kumo.api import conditions
from kumo.api.objects import parse_timestamp, timestamp
from kumo.kubernetes.controller_manager.job import indexes, success_policy
from kumo.kubernetes.controller_manager.job.view import Condition, Status, View
from kumo.kubernetes.controller_manager.pods import phase

Event = tuple[str, str]
"""Reason and message."""
_FAILURES = {
    "BackoffLimitExceeded": "Job has reached the specified backoff limit",
    "DeadlineExceeded": "Job was active longer than specified deadline",
    "MaxFailedIndexesExceeded": "Job has exceeded the specified maximal number of failed indexes",
    "FailedIndexes": "Job has failed indexes",
}


def condition(kind: str, reason: str, message: str, now: float, *, status: str = "True") -> Condition:
    """A condition as jobs have them."""
    moment = timestamp(now)
    times = {"lastProbeTime": moment, "lastTransitionTime": moment}
    return {"type": kind, "status": status, **times, "reason": reason, "message": message}


def verdict(view: View, now: float) -> Condition | None:
    """The condition by which the job is to end for another reason than enough completions.

    What was decided before stays; then failures come before an early success.
    """
    listed = view.status.get("conditions")
    met = conditions.find(listed, "SuccessCriteriaMet")
    if met is not None and met.get("status") == "True":
        return met
    target = conditions.find(listed, "FailureTarget")
    if target is not None and target.get("status") == "True":
        return condition("Failed", target.get("reason", ""), target.get("message", ""), now)
    message = _policy_message(view)
    if message:
        return condition("FailureTarget", "PodFailurePolicy", message, now)
    reason = _failure(view, now)
    if reason:
        return condition("FailureTarget", reason, _FAILURES[reason], now)
    if view.indexed:
        message = success_policy.match(view.spec.get("successPolicy"), view.bound, view.done)
        if message:
            return condition("SuccessCriteriaMet", "SuccessPolicy", message, now)
    return None


def _policy_message(view: View) -> str:
    if view.spec.get("podFailurePolicy") is None:
        return ""
    return next((m for pod in view.pods if view.has_failed(pod) and (m := view.match(pod).message)), "")


def _failure(view: View, now: float) -> str:
    limit = int(view.spec.get("backoffLimit", 6))
    if view.failed > limit or _restarts_exceed(view, limit):
        return "BackoffLimitExceeded"
    wait = deadline_in(view, now)
    if wait is not None and wait <= 0:
        return "DeadlineExceeded"
    if view.failed_indexes is not None:
        lost, most = indexes.total(view.failed_indexes), view.spec.get("maxFailedIndexes")
        if most is not None and lost > int(most):
            return "MaxFailedIndexesExceeded"
        if lost and lost + indexes.total(view.done) >= view.bound:
            return "FailedIndexes"
    return ""


def _restarts_exceed(view: View, limit: int) -> bool:
    """Containers that the kubelet restarts count as failures, too."""
    if ((view.spec.get("template") or {}).get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    count = sum(
        int(status.get("restartCount") or 0)
        for pod in view.pods
        if phase(pod) in ("Running", "Pending")
        for kind in ("initContainerStatuses", "containerStatuses")
        for status in (pod.get("status") or {}).get(kind) or ()
    )
    return count > 0 if limit == 0 else count >= limit


def deadline_in(view: View, now: float) -> float | None:
    """Seconds until `activeDeadlineSeconds` are over; None without a deadline or while suspended."""
    deadline, start = view.spec.get("activeDeadlineSeconds"), view.status.get("startTime")
    if deadline is None or not start or view.suspended:
        return None
    return parse_timestamp(start) + int(deadline) - now


def is_complete(view: View, active: int) -> bool:
    """Whether enough pods have succeeded, `active` pods being left."""
    if active:
        return False
    return view.succeeded > 0 if view.completions is None else view.succeeded >= view.completions


def completion(now: float) -> Condition:
    """The condition of a job that has all its completions."""
    return condition("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods", now)


def suspension(view: View, now: float) -> Event | None:
    """Bring the condition `Suspended` and the start time of the view's status up to date; the event to record."""
    if view.suspended:
        if not ensure(view.status, condition("Suspended", "JobSuspended", "Job suspended", now)):
            return None
        view.status.pop("startTime", None)
        return "Suspended", "Job suspended"
    resumed = condition("Suspended", "JobResumed", "Job resumed", now, status="False")
    if not ensure(view.status, resumed):
        return None
    view.status["startTime"] = timestamp(now)
    return "Resumed", "Job resumed"


def ensure(status: Status, new: Condition) -> bool:
    """Put a condition into the status unless it is there with the same words; whether anything changed.

    One that is false is not added where none was.
    """
    listed: list[Condition] = status.setdefault("conditions", [])
    old = conditions.find(listed, new["type"])
    if old is None:
        if new["status"] != "False":
            listed.append(new)
        return bool(new["status"] != "False")
    if all(old.get(k) == new[k] for k in ("status", "reason", "message")):
        return False
    listed[listed.index(old)] = new
    return True
