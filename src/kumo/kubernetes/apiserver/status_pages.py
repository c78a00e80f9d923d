"""`/statusz` and `/flagz`: what runs here, since when, and with which options, for people to read."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from kumo.kubernetes.apiserver.responses import text_response
from kumo.machinery.http import Response

_WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is "
    "for debugging purposes only."
)
_PATHS = "/flagz /healthz /livez /metrics /readyz /statusz /version"


def statusz(version: str, began: float, now: float) -> Response:
    """The server's version and age; `began` and `now` in seconds since the epoch."""
    minutes, seconds = divmod(int(now - began), 60)
    hours, minutes = divmod(minutes, 60)
    major, minor = version.split(".")[:2]
    lines = (
        "",
        "apiserver statusz",
        _WARNING,
        "",
        f"Started:  {time.strftime('%a %b %e %H:%M:%S UTC %Y', time.gmtime(began))}",
        f"Up:  {hours} hr {minutes:02d} min {seconds:02d} sec",
        f"Python version:  {sys.version.split()[0]}",
        f"Binary version:  {version}",
        f"Emulation version:  {major}.{minor}",
        f"Paths:  {_PATHS}",
    )
    return text_response("\n".join(lines) + "\n")


def flagz(flags: Mapping[str, str]) -> Response:
    """The options, by the names that kube-apiserver has for them."""
    lines = ["", "apiserver flagz", _WARNING, *(f"{name} {value}" for name, value in sorted(flags.items()))]
    return text_response("\n".join(lines) + "\n")
