"""Which start of a cron job is due, and when to look again. Pure; upstream's arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from kumo.api import cron
from kumo.api.objects import Object, parse_timestamp

MANY = 100
"""So many missed starts are told about."""
_PADDING = 0.1
"""Seconds to look later than the start, so that clocks which differ a little don't look before it."""


class NeverDue(ValueError):
    """The schedule has no two starts, such as February 31st."""


@dataclass(frozen=True, slots=True)
class Due:
    """What to go by: since when starts count, the latest start that has come (None if none has), how many came."""

    since: float
    start: float | None = None
    missed: int = 0


def schedule_of(cron_job: Object) -> cron.Schedule:
    """The schedule in its time zone. Raises ValueError if it can't be read, KeyError for an unknown zone."""
    spec = cron_job["spec"]
    text = spec["schedule"]
    zone = spec.get("timeZone")
    return cron.parse(text, ZoneInfo(zone) if zone and "TZ" not in text else None)


def due(cron_job: Object, schedule: cron.Schedule, now: float, *, within_deadline: bool) -> Due:
    """The latest start up to now; `within_deadline` looks no further back than `startingDeadlineSeconds`.

    Raises NeverDue.
    """
    since = _since(cron_job, now, within_deadline=within_deadline)
    first = schedule.after(since)
    second = schedule.after(first) if first is not None else None
    if first is not None and now < first:
        return Due(since)
    if first is not None and second is not None and now < second:
        return Due(since, first)
    if first is None or second is None:
        raise NeverDue("time difference between two schedules is less than 1 second")
    distance = second - first
    missed = int((now - first) // distance) + 1
    at = schedule.after(first + (missed - 2) * distance)
    latest = None
    while at is not None and at <= now:
        latest, at = at, schedule.after(at)
    return Due(since, latest, missed)


def _since(cron_job: Object, now: float, *, within_deadline: bool) -> float:
    last: Any = (cron_job.get("status") or {}).get("lastScheduleTime")
    since = parse_timestamp(last or cron_job["metadata"]["creationTimestamp"])
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    if within_deadline and deadline is not None:
        return max(since, now - int(deadline))
    return since


def wait(cron_job: Object, schedule: cron.Schedule, now: float) -> float | None:
    """Seconds until the next start is to be looked at; None if there is none."""
    base = now
    try:
        found = due(cron_job, schedule, now, within_deadline=False)
        if found.start is not None:
            base = found.start
        elif not found.missed:
            base = found.since
    except NeverDue:
        pass
    following = schedule.after(base)
    return None if following is None else max(following + _PADDING - now, _PADDING)
