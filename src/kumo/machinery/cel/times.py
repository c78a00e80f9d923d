"""Timestamps and durations, in whole nanoseconds as Go has them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import total_ordering

from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.numbers import INT_MAX, INT_MIN

SECOND = 1_000_000_000
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)")
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds())


@total_ordering
@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time of `ns` nanoseconds."""

    ns: int

    def __lt__(self, other: Duration) -> bool:
        return self.ns < other.ns

    def __str__(self) -> str:
        whole, rest = divmod(abs(self.ns), SECOND)
        text = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
        return f"{'-' if self.ns < 0 else ''}{text}s"


@total_ordering
@dataclass(frozen=True, slots=True)
class Timestamp:
    """A moment, in nanoseconds since 1970; its text is written `offset` minutes away from UTC."""

    ns: int
    offset: int = field(default=0, compare=False)

    def __lt__(self, other: Timestamp) -> bool:
        return self.ns < other.ns

    def moment(self) -> datetime:
        """The moment in UTC, to the microsecond."""
        return _EPOCH + timedelta(seconds=self.ns // SECOND, microseconds=self.ns % SECOND // 1000)

    def __str__(self) -> str:
        rest = f"{self.ns % SECOND:09d}".rstrip("0")
        found = self.moment() + timedelta(minutes=self.offset)
        hours, minutes = divmod(abs(self.offset), 60)
        zone = f"{'-' if self.offset < 0 else '+'}{hours:02d}:{minutes:02d}" if self.offset else "Z"
        date = f"{found.year:04d}-{found.month:02d}-{found.day:02d}T{found.hour:02d}:{found.minute:02d}"
        return f"{date}:{found.second:02d}{'.' + rest if rest else ''}{zone}"


def duration(ns: int) -> Duration:
    """A duration that fits 64 bits. Raises CelError."""
    if not INT_MIN <= ns <= INT_MAX:
        raise CelError("integer overflow")
    return Duration(ns)


def timestamp(ns: int, offset: int = 0) -> Timestamp:
    """A timestamp between the years 1 and 9999. Raises CelError."""
    if not _FIRST <= ns // SECOND <= _LAST:
        raise CelError("timestamp overflow")
    return Timestamp(ns, offset)


def parse_duration(text: str) -> Duration:
    """A duration as Go writes it (`1h30m`). Raises ValueError."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    total = 0
    if rest == "0":
        return Duration(0)
    at = 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None or not (match[1] or match[2]):
            raise ValueError(f'time: invalid duration "{text}"')
        unit = _UNITS[match[3]]
        total += int(match[1] or 0) * unit
        if match[2]:
            total += int(match[2]) * unit // 10 ** len(match[2])
        at = match.end()
    if not rest or total > INT_MAX:
        raise ValueError(f'time: invalid duration "{text}"')
    return Duration(-total if text.startswith("-") else total)


def parse_timestamp(text: str) -> Timestamp:
    """A timestamp of RFC 3339. Raises ValueError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    offset = match[8]
    seconds = int((moment - _EPOCH).total_seconds())
    away = 0
    if offset != "Z":
        away = (1 if offset[0] == "+" else -1) * (int(offset[1:3]) * 60 + int(offset[4:]))
    return Timestamp((seconds - away * 60) * SECOND + int((match[7] or "0")[:9].ljust(9, "0")), away)


def parse_date(text: str) -> Timestamp:
    """A timestamp of a date (`2026-01-31`). Raises ValueError."""
    return parse_timestamp(f"{text}T00:00:00Z")
