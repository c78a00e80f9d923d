"""What a pod asks of its node: resources and host ports. The scheduler and whoever admits pods to a node ask alike.

Upstream: `component-helpers/resource.PodRequests`, with the status of containers that are being resized.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kumo.api import conditions, quantities
from kumo.api.objects import Object
from kumo.api.pod_resources import add, is_sidecar, needed

Amounts = dict[str, int]
"""Resource name to amount: thousandths of a core for `cpu`, whole units for everything else."""

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


def is_pod_level(name: str) -> bool:
    """Whether a resource may be asked for by the pod as a whole."""
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def pod_requests(pod: Object, defaults: Mapping[str, int] | None = None) -> Amounts:
    """The pod's effective requests; `defaults` stand in for what a container leaves out.

    Pod-level requests win over the containers', the runtime class's overhead comes on top. While a container is resized
    the larger of what it has and what it is to get counts; only what it has, when the node can never give it the rest.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    resized = {
        s["name"]: s
        for field in ("containerStatuses", "initContainerStatuses")
        for s in status.get(field) or ()
        if s.get("resources") is not None
    }
    infeasible = bool(resized) and _is_infeasible(pod)

    def of(container: Object) -> Amounts:
        found = amounts((container.get("resources") or {}).get("requests"))
        now = resized.get(container["name"]) if resized else None
        if now is not None:
            found = _effective(found, now, infeasible)
        return {**defaults, **found} if defaults else found

    total = needed(spec, of)
    whole = (spec.get("resources") or {}).get("requests")
    if whole:
        total.update({k: v for k, v in amounts(whole).items() if is_pod_level(k)})
    if spec.get("overhead"):
        add(total, amounts(spec["overhead"]))
    return total


def _is_infeasible(pod: Object) -> bool:
    return (conditions.condition(pod, "PodResizePending") or {}).get("reason") == "Infeasible"


def _effective(wanted: Amounts, status: Mapping[str, Any], infeasible: bool) -> Amounts:
    found: Amounts = {} if infeasible else dict(wanted)
    for source in (status["resources"].get("requests"), status.get("allocatedResources")):
        for name, value in amounts(source).items():
            found[name] = max(found.get(name, value), value)
    return found


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
