"""String formats that schemas of custom kinds may ask for; an unknown format asks for nothing."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from kumo.api import names
from kumo.api.schema.decoding import TIME, canonical_time, check_base64


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
    "duration": lambda text: re.fullmatch(r"[+-]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+|0", text) is not None,
    "k8s-short-name": lambda text: not names.check_label(text),
    "k8s-long-name": lambda text: not names.check_subdomain(text),
}


def check_format(form: str, text: str) -> bool:
    """Whether the text is of the format."""
    check = _CHECKS.get(form)
    return check is None or check(text)
