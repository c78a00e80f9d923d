"""What is wanted: Services and their EndpointSlices in, `ServicePort` values out. No I/O.

Sources: the Service and EndpointSlice APIs (core/v1, discovery.k8s.io/v1), and kube-proxy's documented behaviour for
readiness, terminating endpoints, traffic policies and session affinity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from kumo.api.objects import Object, labels_of, name_of, namespace_of

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
DEFAULT_AFFINITY_SECONDS = 10800
_PROTOCOLS = ("tcp", "udp", "sctp")


class Endpoint(NamedTuple):
    """Where a connection is led to."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service, and all that decides how it is reached.

    `endpoints` serve connections from inside the cluster, `external_endpoints` those that come by a node port or an
    external address; the two differ only by the traffic policies. `affinity` is in seconds, 0 for none.
    """

    namespace: str
    name: str
    port_name: str
    protocol: str
    port: int
    cluster_addresses: tuple[str, ...] = ()
    external_addresses: tuple[str, ...] = ()
    node_port: int = 0
    affinity: int = 0
    external_local: bool = False
    endpoints: tuple[Endpoint, ...] = ()
    external_endpoints: tuple[Endpoint, ...] = ()

    @property
    def title(self) -> str:
        """`namespace/name/port`, how people and rules name it."""
        return f"{self.namespace}/{self.name}/{self.port_name or self.port}"


def is_ours(service: Object) -> bool:
    """Whether a proxy has to do with the Service: neither headless nor ExternalName, nor another proxy's."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName" or PROXY_NAME_LABEL in labels_of(service):
        return False
    return spec.get("clusterIP") not in (None, "", "None")


def service_ports(service: Object, slices: Iterable[Object], node: str) -> list[ServicePort]:
    """The ports of the Service with the endpoints that its slices give, as seen from the node named `node`."""
    if not is_ours(service):
        return []
    spec = service["spec"]
    relevant = [s for s in slices if s.get("addressType") == "IPv4"]
    external_local = spec.get("externalTrafficPolicy") == "Local"
    internal_local = spec.get("internalTrafficPolicy") == "Local"
    found = []
    for port in spec.get("ports") or ():
        protocol = str(port.get("protocol") or "TCP").lower()
        if protocol not in _PROTOCOLS:
            continue
        everywhere = _endpoints(relevant, port.get("name") or "", protocol, "")
        here = _endpoints(relevant, port.get("name") or "", protocol, node) if external_local or internal_local else ()
        found.append(
            ServicePort(
                namespace=namespace_of(service),
                name=name_of(service),
                port_name=port.get("name") or "",
                protocol=protocol,
                port=int(port["port"]),
                cluster_addresses=_ipv4(spec.get("clusterIPs") or [spec["clusterIP"]]),
                external_addresses=_external_addresses(service),
                node_port=int(port.get("nodePort") or 0),
                affinity=_affinity(spec),
                external_local=external_local,
                endpoints=here if internal_local else everywhere,
                external_endpoints=here if external_local else everywhere,
            )
        )
    return found


def _external_addresses(service: Object) -> tuple[str, ...]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    balanced = [i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP"]
    return _ipv4([*(service["spec"].get("externalIPs") or ()), *balanced])


def _ipv4(addresses: Iterable[str]) -> tuple[str, ...]:
    found = []
    for address in addresses:
        try:
            found.append(str(IPv4Address(address)))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def _affinity(spec: dict[str, Any]) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(client.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS)


def _endpoints(slices: list[Object], port_name: str, protocol: str, node: str) -> tuple[Endpoint, ...]:
    """Ready endpoints, or if there is none those that still serve while they terminate; of one node if it is given."""
    ready: set[Endpoint] = set()
    ending: set[Endpoint] = set()
    for piece in slices:
        numbers = [
            int(p["port"])
            for p in piece.get("ports") or ()
            if (p.get("name") or "") == port_name
            and str(p.get("protocol") or "TCP").lower() == protocol
            and p.get("port")
        ]
        for endpoint in piece.get("endpoints") or ():
            if node and endpoint.get("nodeName") != node:
                continue
            conditions = endpoint.get("conditions") or {}
            if conditions.get("ready") is not False:
                target = ready
            elif conditions.get("serving") and conditions.get("terminating"):
                target = ending
            else:
                continue
            target.update(Endpoint(address, n) for address in _ipv4(endpoint["addresses"]) for n in numbers)
    return tuple(sorted(ready or ending))
