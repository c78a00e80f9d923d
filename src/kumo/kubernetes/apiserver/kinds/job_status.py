"""What a job's status may say, and how it may change; most is looked at only where it changes."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.job_checks import count_indexes, index_range, unvalued
from kumo.kubernetes.apiserver.kinds.workload_checks import check_counts

_KEPT = ("Failed", "Complete", "FailureTarget")
"""Conditions that stay true."""
_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_CONDITIONS = "status.conditions"


def is_true(obj: Object, kind: str, status: str = "True") -> bool:
    """Whether the job has that condition, with that status."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == kind and c.get("status") == status for c in conditions)


class _Change:
    """A job's status before and after."""

    def __init__(self, new: Object, old: Object) -> None:
        self.new, self.old = new, old
        self.spec: dict[str, Any] = new.get("spec") or {}
        self.status: dict[str, Any] = new.get("status") or {}
        self.stale: dict[str, Any] = old.get("status") or {}
        self.complete, self.failed = is_true(new, "Complete"), is_true(new, "Failed")
        self.finished = self.complete or self.failed
        self.met, self.target = is_true(new, "SuccessCriteriaMet"), is_true(new, "FailureTarget")
        was = is_true(old, "Complete") or is_true(old, "Failed")
        self.ends = was != self.finished

    def said(self, *keys: str) -> bool:
        """Whether any of these fields has changed."""
        return any((self.status.get(k) or None) != (self.stale.get(k) or None) for k in keys)

    def turned(self, *kinds: str) -> bool:
        """Whether any of these conditions has become true, or is true no more."""
        return any(is_true(self.new, kind) != is_true(self.old, kind) for kind in kinds)


def validate_job_status(new: Object, old: Object) -> list[Cause]:
    """What is wrong with the new status of a job."""
    change, found = _Change(new, old), list[Cause]()
    check_counts(change.status, "status", found, *_COUNTS)
    _uncounted(change.status.get("uncountedTerminatedPods") or {}, found)
    _outcome(change, found)
    _end(change, found)
    _indexes(change, found)
    _pods(change, found)
    _success(change, found)
    _history(change, found)
    return found


def _uncounted(uncounted: dict[str, Any], found: list[Cause]) -> None:
    seen: set[str] = set()
    for key in ("succeeded", "failed"):
        for index, uid in enumerate(uncounted.get(key) or ()):
            path = f"status.uncountedTerminatedPods.{key}[{index}]"
            if not uid:
                found.append(fields.invalid(path, uid, "must not be empty"))
            elif uid in seen:
                found.append(fields.duplicate(path, uid))
            seen.add(uid)


def _outcome(change: _Change, found: list[Cause]) -> None:
    end, begin = change.status.get("completionTime"), change.status.get("startTime")
    if change.complete and change.failed and change.turned("Complete", "Failed"):
        found.append(unvalued(_CONDITIONS, "cannot set Complete=True and Failed=true conditions"))
    if change.complete and change.target and change.turned("Complete", "FailureTarget"):
        found.append(unvalued(_CONDITIONS, "cannot set Complete=True and FailureTarget=true conditions"))
    if change.turned("Complete") or change.said("completionTime"):
        if end is not None and not change.complete:
            text = "cannot set completionTime when there is no Complete=True condition"
            found.append(fields.invalid("status.completionTime", end, text))
        if end is None and change.complete:
            found.append(fields.required("status.completionTime", "completionTime is required for Complete jobs"))
    if change.said("startTime", "completionTime") and end is not None and begin is not None and end < begin:
        found.append(fields.invalid("status.completionTime", end, "must be equal to or after `startTime`"))
    if change.failed and not change.target and (change.turned("Failed") or change.said("failedIndexes")):
        text = "cannot set Failed=True condition without the FailureTarget=true condition"
        found.append(unvalued(_CONDITIONS, text))
    if change.complete and not change.met and change.turned("Complete", "SuccessCriteriaMet"):
        text = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
        found.append(unvalued(_CONDITIONS, text))


def _end(change: _Change, found: list[Cause]) -> None:
    """What a job that has finished has no more."""
    if not change.finished:
        return
    status, spec = change.status, change.spec
    if (status.get("active") or 0) > 0 and (change.ends or change.said("active")):
        found.append(fields.invalid("status.active", status["active"], "active>0 is invalid for finished job"))
    idle = spec.get("suspend") is True and spec.get("completions") == 0
    if status.get("startTime") is None and (change.ends or change.said("startTime")) and not idle:
        found.append(fields.required("status.startTime", "startTime is required for finished job"))
    uncounted = status.get("uncountedTerminatedPods") or {}
    if any(uncounted.values()) and (change.ends or change.said("uncountedTerminatedPods")):
        shown = internal("batch.v1.UncountedTerminatedPods", uncounted)
        found.append(fields.invalid("status.uncountedTerminatedPods", shown, "must be empty for finished job"))


def _indexes(change: _Change, found: list[Cause]) -> None:
    spec, status = change.spec, change.status
    completions, limited = spec.get("completions"), spec.get("backoffLimitPerIndex") is not None
    completed, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    for key, text, judged in (("completedIndexes", completed, True), ("failedIndexes", failed or "", limited)):
        if completions is None or not judged or not change.said(key):
            continue
        try:
            count_indexes(text, completions)
        except ValueError as error:
            found.append(fields.invalid(f"status.{key}", text, f"error parsing {key}: {error}"))
    if completed and spec.get("completionMode") != "Indexed" and change.said("completedIndexes"):
        text = "cannot set non-empty completedIndexes when non-indexed completion mode"
        found.append(fields.invalid("status.completedIndexes", completed, text))
    if failed is not None and not limited and failed != change.stale.get("failedIndexes"):
        text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        found.append(fields.invalid("status.failedIndexes", failed, text))
    if completions is not None and failed is not None and change.said("completedIndexes", "failedIndexes"):
        shared = _overlap(_ranges(completed, completions), _ranges(failed, completions))
        if shared is not None:
            text = f"failedIndexes and completedIndexes overlap at index: {shared}"
            found.append(fields.invalid("status.failedIndexes", failed, text))


def _ranges(text: str, completions: int) -> list[tuple[int, int]]:
    """The intervals of a text, without those that are none."""
    found = []
    for interval in text.split(",") if text else ():
        try:
            found.append(index_range(interval, completions))
        except ValueError:
            continue
    return found


def _overlap(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> int | None:
    """The first index that is in both, of intervals in order."""
    mine = other = 0
    while mine < len(ours) and other < len(theirs):
        (first, last), (begin, end) = ours[mine], theirs[other]
        if first <= end and begin <= last:
            return max(first, begin)
        if first <= begin:
            mine += 1
        else:
            other += 1
    return None


def _pods(change: _Change, found: list[Cause]) -> None:
    status = change.status
    if change.finished and (status.get("terminating") or 0) > 0 and (change.ends or change.said("terminating")):
        text = "terminating>0 is invalid for finished job"
        found.append(fields.invalid("status.terminating", status["terminating"], text))
    ready = status.get("ready")
    if ready is not None and ready > (status.get("active") or 0) and change.said("ready", "active"):
        found.append(fields.invalid("status.ready", ready, "cannot set more ready pods than active"))


def _success(change: _Change, found: list[Cause]) -> None:
    if change.met and change.failed:
        found.append(unvalued(_CONDITIONS, "cannot set SuccessCriteriaMet=True and Failed=true conditions"))
    if change.met and change.target:
        found.append(unvalued(_CONDITIONS, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"))
    if change.spec.get("successPolicy") is not None and change.complete and not change.met:
        text = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        found.append(unvalued(_CONDITIONS, text))


def _history(change: _Change, found: list[Cause]) -> None:
    """What may not go back."""
    spec, status, stale = change.spec, change.status, change.stale
    for kind in _KEPT:
        if is_true(change.old, kind) and not is_true(change.new, kind):
            found.append(unvalued(_CONDITIONS, f"cannot disable the terminal {kind}=True condition"))
    scalable = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for key in ("failed",) if scalable else ("failed", "succeeded"):
        if (status.get(key) or 0) < (stale.get(key) or 0):
            text = f"cannot decrease the {key} counter"
            found.append(fields.invalid(f"status.{key}", status.get(key) or 0, text))
    end, begin = status.get("completionTime"), status.get("startTime")
    if end is not None and stale.get("completionTime") not in (None, end):
        found.append(fields.invalid("status.completionTime", end, "field is immutable"))
    resumes = is_true(change.old, "Suspended") and is_true(change.new, "Suspended", "False")
    if stale.get("startTime") not in (None, begin) and not spec.get("suspend") and not resumes:
        text = "field is immutable for unsuspended job once set"
        found.append(fields.invalid("status.startTime", begin, text))
    was_met = is_true(change.old, "SuccessCriteriaMet")
    if was_met and not change.met:
        found.append(unvalued(_CONDITIONS, "cannot disable the SuccessCriteriaMet=True condition"))
    if is_true(change.old, "Complete") and not was_met and change.met:
        text = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        found.append(unvalued(_CONDITIONS, text))
