"""The quality-of-service class of a pod, from its containers' requests and limits."""

from __future__ import annotations

from typing import Any

from kumo.api import quantities

_COUNTED = ("cpu", "memory")


def qos_class(spec: dict[str, Any]) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort` (`pkg/apis/core/helper/qos`)."""
    everyone = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    pod_level = spec.get("resources")
    if pod_level is not None:
        everyone = [{"resources": pod_level}]
    anything, guaranteed = False, True
    for container in everyone:
        resources = container.get("resources") or {}
        requests = _positive(resources.get("requests"))
        limits = _positive(resources.get("limits"))
        anything = anything or bool(requests or limits)
        if set(limits) != set(_COUNTED) or any(limits[k] != v for k, v in requests.items()):
            guaranteed = False
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _positive(amounts: dict[str, Any] | None) -> dict[str, Any]:
    found = {k: quantities.parse(v) for k, v in (amounts or {}).items() if k in _COUNTED}
    return {k: v for k, v in found.items() if v.numerator > 0}
