"""What pods request of a resource, in thousandths: what utilization is a share of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil

from kumo.api import quantities
from kumo.api.objects import Object, name_of
from kumo.api.pod_resources import is_sidecar, needed
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.failures import Uncomputable

_POD_LEVEL = ("cpu", "memory")


def requests(pods: Iterable[Object], resource: str, container: str) -> dict[str, int]:
    """The request of each pod (of its `container`, if named). Raises Uncomputable for a container without one."""
    return {name_of(pod): _request(pod, resource, container) for pod in pods}


def _request(pod: Object, resource: str, container: str) -> int:
    spec = pod.get("spec") or {}
    whole = (spec.get("resources") or {}).get("requests") or {}
    if not container and any(name in _POD_LEVEL or name.startswith("hugepages-") for name in whole):
        return _pod_level(pod, spec, whole, resource)
    total = 0
    sidecars = [c for c in spec.get("initContainers") or () if is_sidecar(c)]
    for found in [*(spec.get("containers") or ()), *sidecars]:
        if container and found["name"] != container:
            continue
        wanted = ((found.get("resources") or {}).get("requests") or {}).get(resource)
        if wanted is None:
            raise Uncomputable(f"missing request for {resource} in container {found['name']} of Pod {name_of(pod)}")
        total += quantities.milli(wanted)
        if container:
            return total
    if container:
        raise Uncomputable(f"container {container} not found in Pod {name_of(pod)}")
    return total


def _pod_level(pod: Object, spec: Object, whole: Mapping[str, str], resource: str) -> int:
    amounts = needed(spec, _container_requests)
    amounts |= {name: quantities.parse(value) for name, value in whole.items()}
    if resource not in amounts:
        raise Uncomputable(f"missing pod-level request for {resource} in Pod {name_of(pod)}")
    overhead = quantities.parse((spec.get("overhead") or {}).get(resource, 0))
    return ceil((amounts[resource] + overhead) * 1000)


def _container_requests(container: Object) -> dict[str, Fraction]:
    found = (container.get("resources") or {}).get("requests") or {}
    return {name: quantities.parse(value) for name, value in found.items()}
