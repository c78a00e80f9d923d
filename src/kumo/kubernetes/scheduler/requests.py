"""What a pod asks of a node: resources and host ports, as upstream's `resource.PodRequests` adds them up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.api.pod_resources import add, is_sidecar, needed

Amounts = dict[str, int]
"""Resource name to amount: thousandths of a core for `cpu`, whole units for everything else."""

DEFAULT_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
"""What a container without requests counts for when nodes are scored (never when they are filtered)."""

ANY_ADDRESS = "0.0.0.0"


class HostPort(NamedTuple):
    """A port that a pod takes on its node."""

    address: str
    protocol: str
    port: int


def amounts(quantities_by_name: Mapping[str, Any] | None) -> Amounts:
    """A resource list as numbers. Raises ValueError for a text that is no quantity."""
    return {
        name: quantities.milli(value) if name == "cpu" else quantities.whole(value)
        for name, value in (quantities_by_name or {}).items()
    }


def _container_requests(container: Object, defaults: Mapping[str, int]) -> Amounts:
    return {**defaults, **amounts((container.get("resources") or {}).get("requests"))}


def pod_requests(pod: Object, defaults: Mapping[str, int] | None = None) -> Amounts:
    """The pod's effective requests; `defaults` stand in for what a container leaves out.

    Pod-level requests win over the containers', the runtime class's overhead comes on top.
    """
    spec = pod.get("spec") or {}
    total = needed(spec, lambda container: _container_requests(container, defaults or {}))
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    add(total, amounts(spec.get("overhead")))
    return total


def scoring_requests(pod: Object) -> Amounts:
    """The pod's requests of cpu and memory for scoring, with a small default for containers that name none."""
    found = pod_requests(pod, {"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY})
    return {"cpu": found.get("cpu", 0), "memory": found.get("memory", 0)}


def host_ports(pod: Object) -> tuple[HostPort, ...]:
    """The ports that the pod's containers take on the node."""
    spec = pod.get("spec") or {}
    sidecars = [c for c in spec.get("initContainers") or () if is_sidecar(c)]
    return tuple(
        HostPort(port.get("hostIP") or ANY_ADDRESS, port.get("protocol") or "TCP", int(port["hostPort"]))
        for container in [*(spec.get("containers") or ()), *sidecars]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def ports_conflict(wanted: Iterable[HostPort], used: Iterable[HostPort]) -> bool:
    """Whether any wanted port is taken; a port on all addresses conflicts with the same one on any."""
    taken = list(used)
    return any(
        w.port == u.port
        and w.protocol == u.protocol
        and (w.address == u.address or ANY_ADDRESS in (w.address, u.address))
        for w in wanted
        for u in taken
    )
