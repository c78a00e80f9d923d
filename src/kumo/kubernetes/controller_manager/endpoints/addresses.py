"""From a service and its pods to endpoints: addresses, ports, conditions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kumo.api.objects import Object, is_deleting, labels_of, name_of, namespace_of, uid_of
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.controller_manager import pods as p

ZONE = "topology.kubernetes.io/zone"


class Port(NamedTuple):
    """One port of a slice; the application protocol is empty where none is named."""

    name: str
    protocol: str
    port: int
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One pod behind a service, in one address family, with the ports it really listens on."""

    address: str
    ports: tuple[Port, ...]
    ready: bool
    serving: bool
    terminating: bool
    node: str
    zone: str
    hostname: str
    pod: tuple[str, str, str]
    """Namespace, name and uid."""


def families(service: Object) -> list[str]:
    """The address types of the service's slices, `IPv4` or `IPv6`."""
    found = (service.get("spec") or {}).get("ipFamilies") or ["IPv4"]
    return [f for f in found if f in ("IPv4", "IPv6")] or ["IPv4"]


def is_headless(service: Object) -> bool:
    """Whether the service has no address of its own."""
    return (service.get("spec") or {}).get("clusterIP") == "None"


def endpoints(
    service: Object, pods: Iterable[Object], nodes: Mapping[str, Object], family: str, *, on_known: bool = False
) -> list[Endpoint]:
    """The service's endpoints of one family; pods that have ended or have no address yet are none.

    With `on_known` neither are those of nodes that aren't (or no longer) there, unless the service wants all.
    """
    found = []
    pods = list(pods)
    lost = {uid_of(pod) for pod in on_lost_nodes(service, pods, nodes)} if on_known else set()
    for pod in pods:
        address = _address(pod, family)
        if address and not p.has_ended(pod) and uid_of(pod) not in lost:
            found.append(_endpoint(service, pod, nodes, address))
    return found


def on_lost_nodes(service: Object, pods: Iterable[Object], nodes: Mapping[str, Object]) -> list[Object]:
    """Pods with an address on nodes that aren't there; none for a service that publishes pods in any state."""
    if (service.get("spec") or {}).get("publishNotReadyAddresses"):
        return []
    return [
        pod
        for pod in pods
        if (pod.get("spec") or {}).get("nodeName") not in nodes
        and (pod.get("status") or {}).get("podIP")
        and not p.has_ended(pod)
    ]


def _address(pod: Object, family: str) -> str:
    status = pod.get("status") or {}
    listed = [a.get("ip") or "" for a in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    return next((a for a in listed if a and (":" in a) == (family == "IPv6")), "")


def _endpoint(service: Object, pod: Object, nodes: Mapping[str, Object], address: str) -> Endpoint:
    spec = pod.get("spec") or {}
    serving, terminating = p.is_ready(pod), is_deleting(pod)
    publish = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
    node = spec.get("nodeName") or ""
    subdomain = bool(spec.get("hostname")) and spec.get("subdomain") == name_of(service)
    return Endpoint(
        address=address,
        ports=ports(service, pod),
        ready=publish or (serving and not terminating),
        serving=serving,
        terminating=terminating,
        node=node,
        zone=labels_of(nodes.get(node) or {}).get(ZONE, ""),
        hostname=spec["hostname"] if subdomain and namespace_of(pod) == namespace_of(service) else "",
        pod=(namespace_of(pod), name_of(pod), uid_of(pod)),
    )


def ports(service: Object, pod: Object) -> tuple[Port, ...]:
    """The service's target ports as numbers in this pod; a named one that the pod lacks is left out."""
    found = []
    for port in (service.get("spec") or {}).get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _number(port.get("targetPort") or port["port"], protocol, pod)
        if number:
            found.append(Port(port.get("name") or "", protocol, number, port.get("appProtocol") or ""))
    return tuple(sorted(found))


def _number(target: Any, protocol: str, pod: Object) -> int:
    if isinstance(target, int):
        return target
    spec = pod.get("spec") or {}
    sidecars = [c for c in spec.get("initContainers") or () if is_sidecar(c)]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return 0
