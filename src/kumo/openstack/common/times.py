"""Times as the services write them; each has its own way."""

from __future__ import annotations

import time


def keystone_time(at: float) -> str:
    """`2026-11-23T05:23:20.000000Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + ".000000Z"


def without_zone(text: str) -> str:
    """Nova's `OS-SRV-USG` form of a Kubernetes time: `2026-11-23T04:45:42.000000`."""
    return text.split(".")[0].removesuffix("Z") + ".000000"
