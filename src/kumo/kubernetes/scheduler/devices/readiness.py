"""Whether a claim's devices are ready for the pod: their drivers say so by conditions, before the pod is bound. Pure.

`bindingConditions` and `bindingFailureConditions` of an allocation's results, `status.devices` of the claim.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kumo.api.objects import Object, name_of, parse_timestamp

TIMEOUT = 600.0
"""Seconds from the allocation on (`bindingTimeout` of DynamicResourcesArgs)."""


class NotReady(Exception):
    """A device will not be ready; the text is upstream's."""


def _results(claim: Object) -> list[Mapping[str, Any]]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    found = (allocation.get("devices") or {}).get("results") or ()
    return [r for r in found if r.get("bindingConditions")]


def has_conditions(claim: Object) -> bool:
    """Whether the claim's devices have to become ready."""
    return bool(_results(claim))


def is_ready(claim: Object) -> bool:
    """Whether all of them are. Raises NotReady for one that has failed."""
    for result in _results(claim):
        conditions = _conditions(claim, result)
        if conditions is None:
            return False
        for name in result.get("bindingFailureConditions") or ():
            failed = conditions.get(name)
            if failed is not None and failed.get("status") == "True":
                text = f"claim={name_of(claim)}, reason={failed.get('reason') or ''}"
                message = json.dumps(failed.get("message") or "", ensure_ascii=False)
                raise NotReady(f"device binding failed: {text}, message={message}")
        if any((conditions.get(n) or {}).get("status") != "True" for n in result["bindingConditions"]):
            return False
    return True


def _conditions(claim: Object, result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]] | None:
    keys = ("driver", "pool", "device")
    for device in (claim.get("status") or {}).get("devices") or ():
        mine = device.get("shareID") in (None, result.get("shareID"))
        if mine and all(device.get(k) == result.get(k) for k in keys):
            return {c["type"]: c for c in device.get("conditions") or ()}
    return None


def deadline(claim: Object, timeout: float = TIMEOUT) -> float | None:
    """When (seconds since the epoch) the devices must be ready; None if they need not become so."""
    when = ((claim.get("status") or {}).get("allocation") or {}).get("allocationTimestamp")
    return parse_timestamp(when) + timeout if when and has_conditions(claim) else None


def is_hopeless(claim: Object, now: float) -> bool:
    """Whether a device has failed, or has had its time: others may do."""
    try:
        ready = is_ready(claim)
    except NotReady:
        return True
    until = deadline(claim)
    return not ready and until is not None and until < now
