"""Microversions: which one a request asks for, and the headers that say which one was used.

Source: the API working group's microversion specification; `OpenStack-API-Version` and Nova's older header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from kumo.openstack.common.errors import ApiError

_FORM = re.compile(r"([1-9][0-9]{0,8})\.([1-9][0-9]{0,8}|0)")


class Version(NamedTuple):
    """A microversion; compares as numbers do."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class Range(NamedTuple):
    """The microversions that a service of that type answers."""

    service: str
    lowest: Version
    highest: Version


def asked(headers: Mapping[str, str], served: Range) -> str:
    """The version that the headers ask for, as they write it; empty when they don't ask.

    `OpenStack-API-Version: compute 2.96` (one service a comma-separated part) goes before Nova's older header.
    """
    for part in headers.get("openstack-api-version", "").split(","):
        service, _, version = part.strip().partition(" ")
        if service.lower() == served.service and version.strip():
            return version.strip()
    return headers.get("x-openstack-nova-api-version", "").strip()


def negotiate(headers: Mapping[str, str], served: Range) -> Version:
    """The microversion to answer with; the lowest unless asked. Raises ApiError 400 (malformed) or 406 (not served)."""
    text = asked(headers, served)
    if not text:
        return served.lowest
    if text.lower() == "latest":
        return served.highest
    found = _FORM.fullmatch(text)
    if found is None:
        raise ApiError(400, f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.")
    version = Version(int(found[1]), int(found[2]))
    if not served.lowest <= version <= served.highest:
        raise ApiError(
            406,
            f"Version {version} is not supported by the API. Minimum is {served.lowest} and maximum is "
            f"{served.highest}.",
        )
    return version


def version_headers(text: str, served: Range) -> dict[str, str]:
    """The headers that say which microversion the answer has."""
    return {
        "OpenStack-API-Version": f"{served.service} {text}",
        "X-OpenStack-Nova-API-Version": text,
        "Vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
    }
