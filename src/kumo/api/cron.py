"""Cron schedules as CronJobs have them: five fields or a descriptor, read and told when they are due next.

Syntax, words about what is wrong, and what happens when clocks are put forward or back are those of robfig/cron's
standard parser, which upstream uses: lists, ranges, steps and names in a field; `@hourly` and the like; `@every 1h30m`;
`TZ=Europe/Vienna` in front. A time that a zone leaves out is left out, one that it has twice comes twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_DURATION = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)", re.ASCII)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_YEARS = 5
"""A schedule that is due at no time of so many years is never due."""


@dataclass(frozen=True, slots=True)
class Field:
    """The numbers that a field means; `open` if a star (without a step) is among its items."""

    values: frozenset[int]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due. With `every` (whole seconds) at that distance, else by the fields in `zone`."""

    fields: tuple[Field, ...] = ()
    zone: tzinfo = UTC
    every: int = 0

    def after(self, moment: float) -> float | None:
        """The first time later than `moment` (both seconds since the epoch); None if there is none in five years."""
        if self.every:
            return float(int(moment) + self.every)
        minutes, hours, _, months, _ = self.fields
        at = (int(moment) // 60 + 1) * 60
        last = datetime.fromtimestamp(at, self.zone).year + _YEARS
        while True:
            local = datetime.fromtimestamp(at, self.zone)
            if local.year > last:
                return None
            if local.month not in months.values:
                at = max(_start(local.replace(day=1) + timedelta(days=32), day=1), at + 60)
            elif not self._is_day(local):
                at = max(_start(local + timedelta(days=1)), at + 60)
            elif local.hour not in hours.values:
                at += (60 - local.minute) * 60
            elif local.minute not in minutes.values:
                at += (min((m for m in minutes.values if m > local.minute), default=60) - local.minute) * 60
            else:
                return float(at)

    def _is_day(self, local: datetime) -> bool:
        days, weekdays = self.fields[2], self.fields[4]
        by_day, by_weekday = local.day in days.values, local.isoweekday() % 7 in weekdays.values
        return (by_day and by_weekday) if days.open or weekdays.open else (by_day or by_weekday)


def _start(local: datetime, day: int | None = None) -> int:
    """When the local day begins, which is not midnight where clocks are put forward at midnight."""
    begin = local.replace(day=day or local.day, hour=0, minute=0, second=0, microsecond=0, fold=0)
    return int(begin.timestamp())


def parse(text: str, zone: tzinfo | None = None) -> Schedule:
    """Read a schedule. `zone` (else UTC) is for those that name none themselves.

    Raises ValueError with upstream's words about what is wrong.
    """
    if text.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, text = text.partition(" ")
        name = prefix.partition("=")[2]
        text = text.strip()
        try:
            zone = ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"provided bad location {name}: unknown time zone {name}") from None
    zone = zone or UTC
    if text.startswith("@every "):
        return Schedule(every=max(int(_seconds(text)), 1), zone=zone)
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    if not text:
        raise ValueError("empty spec string")
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    return Schedule(tuple(_field(part, *bounds) for part, bounds in zip(parts, _FIELDS)), zone)


def _seconds(text: str) -> float:
    span = text.removeprefix("@every ")
    found = _DURATION.fullmatch(span)
    if found is None:
        raise ValueError(f'failed to parse duration {text}: time: invalid duration "{span}"')
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(found[2]))
    return -total if found[1] == "-" else total


def _field(text: str, low: int, high: int, words: tuple[str, ...]) -> Field:
    values: set[int] = set()
    is_open = False
    for item in text.split(","):
        if item:
            found = _item(item, low, high, words)
            values |= found.values
            is_open = is_open or found.open
    return Field(frozenset(values), is_open)


def _item(item: str, low: int, high: int, words: tuple[str, ...]) -> Field:
    span, *steps = item.split("/")
    first, *last = span.split("-")
    star = first in ("*", "?")
    if star:
        start, end = low, high
    else:
        start = _number(first, low, words)
        end = _number(last[0], low, words) if len(last) == 1 else start
        if len(last) > 1:
            raise ValueError(f"too many hyphens: {item}")
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {item}")
    step = 1
    if steps:
        step = _number(steps[0], 0, ())
        if not last and not star:
            end = high
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {item}")
    if end > high:
        raise ValueError(f"end of range ({end}) above maximum ({high}): {item}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {item}")
    if not step:
        raise ValueError(f"step of range should be a positive number: {item}")
    return Field(frozenset(range(start, end + 1, step)), star and step == 1)


def _number(text: str, low: int, words: tuple[str, ...]) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + low
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise ValueError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)
