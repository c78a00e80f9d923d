"""What a pod asks for in all: the resources of its containers added up as scheduler and quota count them. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from kumo.api import quantities
from kumo.api.pod_resources import add, needed

Amounts = dict[str, Fraction]


def amounts(found: dict[str, Any] | None) -> Amounts:
    """Quantities by resource name."""
    return {name: quantities.parse(value) for name, value in (found or {}).items()}


def total(spec: dict[str, Any], field: Literal["requests", "limits"]) -> Amounts:
    """A pod spec's requests or limits, with the overhead."""
    running = needed(spec, lambda container: amounts((container.get("resources") or {}).get(field)))
    overhead = amounts(spec.get("overhead"))
    if field == "limits":
        overhead = {name: value for name, value in overhead.items() if name in running}
    add(running, overhead)
    return running
