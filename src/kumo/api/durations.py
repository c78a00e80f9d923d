"""Spans of time as Go writes them (`1h30m0s`, `250ms`): read and written. Pure. Source: Go's package time."""

from __future__ import annotations

import re
from functools import lru_cache

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


@lru_cache(maxsize=256)
def go_duration(text: str) -> float:
    """The seconds of a duration as Go writes it (`1m30s`). Raises ValueError with Go's words."""
    quoted = f'"{text[:64]}"'
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return 0.0
    total, at = 0.0, 0
    while match := _PART.match(body, at):
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    if not body or at != len(body):
        rest = re.fullmatch(r"(?:\d+\.?\d*|\.\d+)([^\d.]*).*", body[at:])
        if rest is not None and not rest[1]:
            raise ValueError(f"time: missing unit in duration {quoted}")
        if rest is not None:
            raise ValueError(f'time: unknown unit "{rest[1][:16]}" in duration {quoted}')
        raise ValueError(f"time: invalid duration {quoted}")
    return -total if text[0] == "-" else total


def go_text(seconds: float) -> str:
    """Seconds as Go's `Duration.String` writes them, to the nanosecond: `0s`, `1.5s`, `2m0s`, `100ms`."""
    nanos = round(abs(seconds) * 1_000_000_000)
    sign = "-" if seconds < 0 and nanos else ""
    if nanos == 0:
        return "0s"
    for size, unit in ((1000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")):
        if nanos < size:
            return f"{sign}{_decimal(nanos, size // 1000)}{unit}"
    minutes, rest = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0") if rest else str(whole)
