"""Parts of timestamps and durations (`getFullYear`, `getHours('Europe/Berlin')`, ...)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.times import SECOND, Duration, Timestamp

_PARTS: dict[str, Callable[[datetime, int], int]] = {
    "getFullYear": lambda m, ns: m.year,
    "getMonth": lambda m, ns: m.month - 1,
    "getDayOfYear": lambda m, ns: m.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda m, ns: m.day - 1,
    "getDate": lambda m, ns: m.day,
    "getDayOfWeek": lambda m, ns: (m.weekday() + 1) % 7,
    "getHours": lambda m, ns: m.hour,
    "getMinutes": lambda m, ns: m.minute,
    "getSeconds": lambda m, ns: m.second,
    "getMilliseconds": lambda m, ns: ns % SECOND // 10**6,
}
_SPANS = {"getHours": 3600 * SECOND, "getMinutes": 60 * SECOND, "getSeconds": SECOND, "getMilliseconds": 10**6}
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)")


def _zoned(moment: datetime, zone: str) -> datetime:
    match = _OFFSET.fullmatch(zone)
    if match:
        away = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return moment.astimezone(timezone(-away if match[1] == "-" else away))
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return moment.astimezone(ZoneInfo(zone or "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CelError(f"unknown time zone {zone}") from None


def _part(read: Callable[[datetime, int], int]) -> Callable[..., int]:
    def code(value: Timestamp, zone: str = "") -> int:
        moment = value.moment()
        return read(_zoned(moment, zone) if zone else moment, value.ns)

    return code


def _span(name: str) -> Callable[[Any], int]:
    def code(value: Duration) -> int:
        whole = abs(value.ns) // _SPANS[name]
        if name == "getMilliseconds":
            whole = abs(value.ns) // 10**6
        return whole if value.ns >= 0 else -whole

    return code


def overloads() -> list[Overload]:
    """Everything here."""
    found = []
    for name, read in _PARTS.items():
        code = _part(read)
        found.append(overload(name, f"timestamp_{name} = timestamp.() -> int", code))
        found.append(overload(name, f"timestamp_{name}_tz = timestamp.(string) -> int", code))
    for name in _SPANS:
        found.append(overload(name, f"duration_{name} = duration.() -> int", _span(name)))
    return found
