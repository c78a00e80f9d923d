"""The account that a cron job keeps of its jobs: which run, which ended well, which are too old to keep. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, name_of, parse_timestamp, uid_of
from kumo.machinery.events import NORMAL, WARNING

Event = tuple[str, str, str]
"""Type, reason and message."""
Status = dict[str, Any]


def outcome(job: Object) -> str:
    """`Complete` or `Failed` of a job that has ended, else nothing."""
    return next((kind for kind in ("Complete", "Failed") if conditions.is_true(job, kind)), "")


def active(status: Status) -> list[dict[str, Any]]:
    """References to the jobs that are believed to run."""
    found: list[dict[str, Any]] = status.get("active") or []
    return found


def forgotten(cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
    """Running jobs of the cron job that its status doesn't know."""
    known = {ref.get("uid") for ref in active(cron_job.get("status") or {})}
    return [job for job in jobs if uid_of(job) not in known and not outcome(job)]


def missing(cron_job: Object, jobs: Sequence[Object]) -> list[dict[str, Any]]:
    """References in the status to jobs that are not among these."""
    found = {uid_of(job) for job in jobs}
    return [ref for ref in active(cron_job.get("status") or {}) if ref.get("uid") not in found]


def settle(cron_job: Object, jobs: Sequence[Object], gone: Collection[str]) -> tuple[Status, list[Event]]:
    """The status after a look at the jobs; `gone` are the uids of active ones that are no more."""
    status: Status = deepcopy(cron_job.get("status") or {})
    events: list[Event] = []
    unexpected = {uid_of(job) for job in forgotten(cron_job, jobs)}
    for job in jobs:
        if uid_of(job) in unexpected:
            text = f"Saw a job that the controller did not create or forgot: {name_of(job)}"
            events.append((WARNING, "UnexpectedJob", text))
        end = outcome(job)
        if end and any(ref.get("uid") == uid_of(job) for ref in active(status)):
            drop(status, {uid_of(job)})
            events.append((NORMAL, "SawCompletedJob", f"Saw completed job: {name_of(job)}, condition: {end}"))
        if end == "Complete":
            _note_success(status, job)
    for ref in missing(cron_job, jobs):
        if ref.get("uid") in gone:
            drop(status, {ref.get("uid")})
            events.append((NORMAL, "MissingJob", f"Active job went missing: {ref.get('name')}"))
    return status, events


def drop(status: Status, uids: Collection[Any]) -> None:
    """Take jobs out of the active ones, in place."""
    left = [ref for ref in active(status) if ref.get("uid") not in uids]
    if left:
        status["active"] = left
    else:
        status.pop("active", None)


def _note_success(status: Status, job: Object) -> None:
    ended, last = (job.get("status") or {}).get("completionTime"), status.get("lastSuccessfulTime")
    if ended and (not last or parse_timestamp(ended) > parse_timestamp(last)):
        status["lastSuccessfulTime"] = ended


def surplus(cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
    """Ended jobs beyond the history limits, the oldest first."""
    spec = cron_job["spec"]
    found: list[Object] = []
    for kind, limit in (
        ("Complete", spec.get("successfulJobsHistoryLimit")),
        ("Failed", spec.get("failedJobsHistoryLimit")),
    ):
        ended = sorted((job for job in jobs if outcome(job) == kind), key=_age)
        if limit is not None and len(ended) > int(limit):
            found += ended[: len(ended) - int(limit)]
    return found


def _age(job: Object) -> tuple[float, str]:
    started = (job.get("status") or {}).get("startTime")
    return (parse_timestamp(started) if started else float("inf"), name_of(job))
