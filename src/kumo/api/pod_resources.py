"""What a pod needs in all: its containers' resources added up as scheduler, quota and kubelet all count them.

The rule is upstream's (`component-helpers/resource`, KEP-753): containers and sidecars run together and add up; an init
container runs beside the sidecars started before it, so the pod needs the largest of those sums too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeVar

from kumo.api.objects import Object

N = TypeVar("N", int, Fraction)


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """Whether an init container keeps running beside the pod's containers (`restartPolicy: Always`)."""
    return container.get("restartPolicy") == "Always"


def add(total: dict[str, N], more: Mapping[str, N]) -> None:
    """Add `more` to `total`, in place."""
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def needed(spec: Object, of: Callable[[Object], dict[str, N]]) -> dict[str, N]:
    """The amounts that a pod spec needs by resource name, `of` being those of one container (a dictionary of its own).

    Pod-level resources and the overhead are not in it.
    """
    total: dict[str, N] = {}
    sidecars: dict[str, N] = {}
    peak: dict[str, N] = {}
    for container in spec.get("containers") or ():
        add(total, of(container))
    for container in spec.get("initContainers") or ():
        wanted = of(container)
        if is_sidecar(container):
            add(total, wanted)
            add(sidecars, wanted)
            wanted = sidecars
        else:
            add(wanted, sidecars)
        for name, value in wanted.items():
            peak[name] = max(peak.get(name, value), value)
    for name, value in peak.items():
        total[name] = max(total.get(name, value), value)
    return total
