"""String formats that schemas of custom kinds may ask for; an unknown format asks for nothing."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from kumo.api import names
from kumo.api.schema.decoding import TIME, canonical_time, check_base64

_SECOND = 1_000_000_000
_UNITS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (1, ("ns", "nano")),
    (1000, ("us", "µs", "micro")),
    (10**6, ("ms", "milli")),
    (_SECOND, ("s", "sec")),
    (60 * _SECOND, ("m", "min")),
    (3600 * _SECOND, ("h", "hr", "hour")),
    (24 * 3600 * _SECOND, ("d", "day")),
    (7 * 24 * 3600 * _SECOND, ("w", "wk", "week")),
)
_GO_UNITS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_GO_DURATION = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+|[+-]?0")
_GO_PART = re.compile(r"([0-9]*)\.?([0-9]*)(ns|us|µs|μs|ms|s|m|h)")
_LOOSE_PART = re.compile(r"([0-9]+)\s*([A-Za-zµ]+)")


def loose_duration(text: str) -> int | None:
    """The nanoseconds of a duration as schemas allow them: Go's (`1h30m`), and `2 days`; None for other texts."""
    if len(text) > 256:
        return None
    if _GO_DURATION.fullmatch(text):
        found = sum(
            int(whole or 0) * _GO_UNITS[unit] + (int(part) * _GO_UNITS[unit] // 10 ** len(part) if part else 0)
            for whole, part, unit in _GO_PART.findall(text)
        )
        return -found if text[0] == "-" else found
    total, known = 0, False
    for count, unit in _LOOSE_PART.findall(text):
        for size, variants in _UNITS:
            if unit.lower() in variants or unit.lower().startswith(variants[-1]):
                total += int(count) * size
                known = True
    return total if known else None


def _reading(read: Callable[[str], object]) -> Callable[[str], bool]:
    def good(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return good


def _date_time(text: str) -> bool:
    return bool(TIME.fullmatch(text)) and _reading(canonical_time)(text)


_CHECKS: dict[str, Callable[[str], bool]] = {
    "date-time": _date_time,
    "date": _reading(lambda text: canonical_time(text + "T00:00:00Z")),
    "byte": _reading(check_base64),
    "ipv4": _reading(ipaddress.IPv4Address),
    "ipv6": _reading(ipaddress.IPv6Address),
    "cidr": lambda text: "/" in text and _reading(lambda t: ipaddress.ip_network(t, strict=False))(text),
    "mac": lambda text: re.fullmatch(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", text) is not None,
    "uuid": _reading(uuid.UUID),
    "uri": lambda text: bool(urlsplit(text).scheme),
    "hostname": lambda text: not names.check_subdomain(text.lower()),
    "email": lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None,
    "duration": lambda text: loose_duration(text) is not None,
    "k8s-short-name": lambda text: not names.check_label(text),
    "k8s-long-name": lambda text: not names.check_subdomain(text),
}


def check_format(form: str, text: str) -> bool:
    """Whether the text is of the format."""
    check = _CHECKS.get(form)
    return check is None or check(text)
