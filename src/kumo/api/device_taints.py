"""Taints of devices (resource.k8s.io/v1) and what tolerates them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kumo.api.objects import parse_timestamp

NO_EXECUTE = "NoExecute"


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether a request's toleration is for the taint."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    return operator == "Exists" or (
        operator == "Equal" and (toleration.get("value") or "") == (taint.get("value") or "")
    )


def eviction_time(
    taints: Iterable[Mapping[str, Any]], tolerations: Iterable[Mapping[str, Any]], now: float
) -> float | None:
    """When (seconds since the epoch) who has the device must go; None if the taints do not mind, or are tolerated."""
    known = [t for t in tolerations if t.get("effect") == NO_EXECUTE]
    ends = []
    for taint in taints:
        if taint.get("effect") != NO_EXECUTE:
            continue
        mine = [t for t in known if tolerates(t, taint)]
        if any(t.get("tolerationSeconds") is None for t in mine):
            continue
        since = parse_timestamp(taint["timeAdded"]) if taint.get("timeAdded") else now
        ends.append(since + min((max(0, int(t["tolerationSeconds"])) for t in mine), default=0))
    return min(ends, default=None)
