"""How much of a device's capacity a request consumes, and whether that is left: claims may share a device. Pure.

`capacity` of a ResourceSlice's device, `requestPolicy` in it, and `capacity.requests` of a claim's request. Upstream:
`dynamic-resource-allocation/structured/internal/incubating/consumable_capacity.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from kumo.api import quantities

Amounts = Mapping[str, Fraction]


def consumed(requests: Mapping[str, Any], device: Mapping[str, Any]) -> dict[str, str]:
    """What the requests take of each capacity of the device: as much as is asked for, rounded by its policy."""
    return {name: _consumed(requests.get(name), of) for name, of in (device.get("capacity") or {}).items()}


def _consumed(wanted: Any, capacity: Mapping[str, Any]) -> str:
    policy = capacity.get("requestPolicy") or {}
    if wanted is None:
        return quantities.canonical(policy.get("default") or capacity["value"])
    limits, values = policy.get("validRange") or {}, policy.get("validValues") or ()
    if limits.get("min") is not None:
        return _in_range(wanted, limits)
    asked = quantities.parse(wanted)
    return quantities.canonical(next((v for v in values if asked <= quantities.parse(v)), wanted))


def _in_range(wanted: Any, limits: Mapping[str, Any]) -> str:
    asked, least = quantities.parse(wanted), quantities.parse(limits["min"])
    if asked < least:
        return quantities.canonical(limits["min"])
    if limits.get("step") is None:
        return quantities.canonical(wanted)
    step, begin = quantities.whole(limits["step"]), quantities.whole(limits["min"])
    steps = -(-(quantities.whole(wanted) - begin) // step)
    return quantities.to_text(begin + step * steps, binary=True)


def fits(requests: Mapping[str, Any], device: Mapping[str, Any], used: Amounts) -> bool:
    """Whether the device has all that is asked for, its policies allow it, and others have left so much."""
    capacity = device.get("capacity") or {}
    if any(name not in capacity for name in requests):
        return False
    for name, amount in consumed(requests, device).items():
        value = quantities.parse(amount)
        if not _is_allowed(value, capacity[name].get("requestPolicy") or {}):
            return False
        if used.get(name, 0) + value > quantities.parse(capacity[name]["value"]):
            return False
    return True


def _is_allowed(value: Fraction, policy: Mapping[str, Any]) -> bool:
    if policy.get("default") is not None and value == quantities.parse(policy["default"]):
        return True
    limits, values = policy.get("validRange"), policy.get("validValues") or ()
    if limits is not None:
        if limits.get("max") is not None and value > quantities.parse(limits["max"]):
            return False
        if limits.get("step") is None:
            return True
        past = quantities.whole(value) - quantities.whole(limits.get("min") or 0)
        return past % quantities.whole(limits["step"]) == 0
    return not values or any(value == quantities.parse(v) for v in values)


def parsed(amounts: Mapping[str, Any]) -> dict[str, Fraction]:
    """Quantities as numbers."""
    return {name: quantities.parse(value) for name, value in amounts.items()}
