"""The form that a spec has after Go has decoded and encoded it: canonical quantities, structs that are always there."""

from __future__ import annotations

from typing import Any

from kumo.api.quantities import canonical
from kumo.kubevirt.common.specs import Spec, child


def canonicalize(spec: Spec) -> None:
    """Bring a VMI's spec into that form (it is changed). Raises ValueError for what is no quantity."""
    domain = child(spec, "domain")
    child(domain, "devices")
    resources = child(domain, "resources")
    for kind in ("requests", "limits"):
        if resources.get(kind):
            resources[kind] = {name: canonical(value) for name, value in resources[kind].items()}
    memory = domain.get("memory")
    if memory:
        _quantities(memory, "guest", "maxGuest")
    for volume in spec.get("volumes") or ():
        for source in ("emptyDisk", "hostDisk"):
            if volume.get(source):
                _quantities(volume[source], "capacity")


def _quantities(holder: dict[str, Any], *names: str) -> None:
    for name in names:
        if holder.get(name) is not None:
            holder[name] = canonical(holder[name])
