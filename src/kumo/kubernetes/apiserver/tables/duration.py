"""Durations as people read them, two units at most (`k8s.io/apimachinery/pkg/util/duration`)."""

from __future__ import annotations

from datetime import datetime


def human_duration(seconds: float) -> str:
    """`5s`, `2m3s`, `5h`, `3d4h`, `2y19d`; the larger the coarser. A time ahead is `<invalid>`."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    if hours < 24 * 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, unit: str, small: int, subunit: str) -> str:
    return f"{large}{unit}{small}{subunit}" if small else f"{large}{unit}"


def since(timestamp: str | None, now: float) -> str:
    """The age of a `metav1.Time` or MicroTime at `now` (seconds since the epoch); `<unknown>` for none."""
    if not timestamp:
        return "<unknown>"
    try:
        return human_duration(now - datetime.fromisoformat(timestamp).timestamp())
    except ValueError:
        return "<unknown>"
