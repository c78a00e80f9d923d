"""What a pod asks for in all: the resources of its containers added up as scheduler and quota count them. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from kumo.api import quantities

Amounts = dict[str, Fraction]


def amounts(found: dict[str, Any] | None) -> Amounts:
    """Quantities by resource name."""
    return {name: quantities.parse(value) for name, value in (found or {}).items()}


def add(into: Amounts, more: Amounts) -> None:
    """Add `more` to `into`, in place."""
    for name, value in more.items():
        into[name] = into.get(name, Fraction(0)) + value


def total(spec: dict[str, Any], field: Literal["requests", "limits"]) -> Amounts:
    """A pod spec's requests or limits: containers and sidecars summed, init containers by their maximum, overhead."""
    running: Amounts = {}
    for container in spec.get("containers") or ():
        add(running, amounts((container.get("resources") or {}).get(field)))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = amounts((container.get("resources") or {}).get(field))
        if container.get("restartPolicy") == "Always":
            add(sidecars, own)
            own = sidecars
        else:
            own = dict(own)
            add(own, sidecars)
        for name, value in own.items():
            peak[name] = max(peak.get(name, Fraction(0)), value)
    add(running, sidecars)
    for name, value in peak.items():
        running[name] = max(running.get(name, Fraction(0)), value)
    overhead = amounts(spec.get("overhead"))
    if field == "limits":
        overhead = {name: value for name, value in overhead.items() if name in running}
    add(running, overhead)
    return running
