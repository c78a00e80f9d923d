"""Whether a cron job starts a job now. Pure."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

from kumo.api.objects import Object, is_deleting, name_of, namespace_of, owner_reference, parse_timestamp
from kumo.kubernetes.controller_manager.cron_job import timing
from kumo.kubernetes.controller_manager.cron_job.books import Event, active
from kumo.machinery.events import NORMAL, WARNING

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_TZ_IN_SCHEDULE = (
    'CRON_TZ or TZ used in schedule "{}" is not officially supported, see '
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)


@dataclass(slots=True)
class Plan:
    """The start to carry out (seconds since the epoch), if any; `replace` are references to jobs to delete first."""

    start: float | None = None
    replace: list[dict[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    again: float | None = None


def plan(cron_job: Object, now: float) -> Plan:
    """What to do about a cron job whose status is up to date."""
    spec, made = cron_job["spec"], Plan()
    if is_deleting(cron_job):
        return made
    zone = spec.get("timeZone")
    if zone is not None and not _is_zone(zone):
        made.events.append((WARNING, "UnknownTimeZone", f'invalid timeZone: "{zone}": unknown time zone {zone}'))
        return made
    if spec.get("suspend"):
        return made
    text = spec["schedule"]
    if "TZ" in text:
        made.events.append((WARNING, "UnsupportedSchedule", _TZ_IN_SCHEDULE.format(text)))
    try:
        schedule = timing.schedule_of(cron_job)
    except ValueError as error:
        made.events.append((WARNING, "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}'))
        return made
    try:
        found = timing.due(cron_job, schedule, now, within_deadline=True)
    except timing.NeverDue as error:
        made.events.append((WARNING, "InvalidSchedule", f"invalid schedule: {text} : {error}"))
        return made
    made.again = timing.wait(cron_job, schedule, now)
    if found.start is not None:
        _decide(made, cron_job, found, found.start, now)
    return made


def delay_after_change(old: Object | None, new: Object | None, now: float) -> float:
    """Seconds after which a change is to be looked at: none, or the time to the next start of a changed schedule.

    Raises ValueError for a new schedule that can't be read.
    """
    if (
        old is None
        or new is None
        or not any(old["spec"].get(k) != new["spec"].get(k) for k in ("schedule", "timeZone"))
    ):
        return 0.0
    try:
        found = timing.wait(new, timing.schedule_of(new), now)
    except KeyError:
        return 0.0
    return 0.0 if found is None else found


def _decide(made: Plan, cron_job: Object, found: timing.Due, start: float, now: float) -> None:
    spec, status = cron_job["spec"], cron_job.get("status") or {}
    if found.missed > timing.MANY:
        words = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        made.events.append((WARNING, "TooManyMissedTimes", words))
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None and start + int(deadline) < now:
        moment = format_datetime(datetime.fromtimestamp(start, UTC))
        made.events.append((WARNING, "MissSchedule", f"Missed scheduled time to start a job: {moment}"))
        return
    running = active(status)
    last = status.get("lastScheduleTime")
    known = any(ref.get("name") == job_name(cron_job, start) for ref in running)
    if known or (last and parse_timestamp(last) == start):
        return
    policy = spec.get("concurrencyPolicy")
    if policy == "Forbid" and running:
        words = "Not starting job because prior execution is running and concurrency policy is Forbid"
        made.events.append((NORMAL, "JobAlreadyActive", words))
        return
    if policy == "Replace":
        made.replace = list(running)
    made.start = start


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def job_name(cron_job: Object, start: float) -> str:
    """The name of a start's job: one start can't have two."""
    return f"{name_of(cron_job)}-{int(start) // 60}"


def job_for(cron_job: Object, start: float) -> Object:
    """The job of a start."""
    template = cron_job["spec"].get("jobTemplate") or {}
    meta = template.get("metadata") or {}
    zone = cron_job["spec"].get("timeZone")
    moment = datetime.fromtimestamp(start, ZoneInfo(zone) if zone else UTC).isoformat().replace("+00:00", "Z")
    made: dict[str, Any] = {
        "name": job_name(cron_job, start),
        "namespace": namespace_of(cron_job),
        "annotations": {**(meta.get("annotations") or {}), SCHEDULED: moment},
        "ownerReferences": [owner_reference(cron_job)],
    }
    if meta.get("labels"):
        made["labels"] = dict(meta["labels"])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": made, "spec": deepcopy(template.get("spec") or {})}
