"""What is wanted: Services and their EndpointSlices in, `ServicePort` values of one family out. No I/O.

Sources: the Service API (core/v1), and kube-proxy's documented behaviour for traffic policies, session affinity,
external addresses and load balancers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from kumo.api.objects import Object, annotations_of, labels_of, name_of, namespace_of
from kumo.kubernetes.kube_proxy.config import IPV4, Family
from kumo.kubernetes.kube_proxy.endpoints import Endpoint, Place, addresses_of, known, usable

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
DEFAULT_AFFINITY_SECONDS = 10800
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service in one family, and all that decides how it is reached.

    `cluster` are the endpoints of the policy Cluster, `local` those of the policy Local; `anywhere` says whether some
    node could answer. `balanced` are the load balancer's addresses, open to `source_ranges` only if there are any.
    `affinity` is in seconds, 0 for none.
    """

    namespace: str
    name: str
    port_name: str
    protocol: str
    port: int
    cluster_addresses: tuple[str, ...] = ()
    external_addresses: tuple[str, ...] = ()
    balanced: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    node_port: int = 0
    affinity: int = 0
    internal_local: bool = False
    external_local: bool = False
    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    anywhere: bool = False

    @property
    def title(self) -> str:
        """`namespace/name/port`, how people and rules name it."""
        return f"{self.namespace}/{self.name}/{self.port_name or self.port}"

    @property
    def inside(self) -> tuple[Endpoint, ...]:
        """The endpoints for connections to the cluster IP."""
        return self.local if self.internal_local else self.cluster

    @property
    def outside(self) -> tuple[Endpoint, ...]:
        """The endpoints for connections from outside, by node port or external address."""
        return self.local if self.external_local else self.cluster

    @property
    def is_external(self) -> bool:
        """Whether there is a way in from outside."""
        return bool(self.node_port or self.external_addresses or self.balanced)


def is_left_out(obj: Object) -> bool:
    """Whether a Service's or EndpointSlice's labels say that it is another proxy's, or no proxy's."""
    labels = labels_of(obj)
    return PROXY_NAME_LABEL in labels or HEADLESS_LABEL in labels


def is_ours(service: Object) -> bool:
    """Whether a proxy has to do with the Service: neither headless nor ExternalName, nor another proxy's."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName" or is_left_out(service):
        return False
    return spec.get("clusterIP") not in (None, "", "None")


def service_ports(service: Object, slices: Iterable[Object], place: Place, family: Family = IPV4) -> list[ServicePort]:
    """The ports of the Service in that family, with the endpoints that its slices give, as seen from `place`."""
    if not is_ours(service):
        return []
    spec, pieces, kind = service["spec"], list(slices), family.kind
    addresses = tuple(addresses_of(spec.get("clusterIPs") or [spec["clusterIP"]], kind))
    if not addresses:
        return []
    common: dict[str, Any] = {
        "namespace": namespace_of(service),
        "name": name_of(service),
        "cluster_addresses": addresses,
        "external_addresses": tuple(addresses_of(spec.get("externalIPs") or (), kind)),
        "balanced": tuple(addresses_of(balancer_addresses(service), kind)),
        "source_ranges": _source_ranges(service, family),
        "affinity": _affinity(spec),
        "internal_local": spec.get("internalTrafficPolicy") == "Local",
        "external_local": spec.get("externalTrafficPolicy") == "Local",
    }
    found = []
    for port in spec.get("ports") or ():
        protocol = str(port.get("protocol") or "TCP").lower()
        if protocol not in _PROTOCOLS:
            continue
        name = port.get("name") or ""
        use = usable(known(pieces, kind, name, protocol), place)
        number = int(port["port"])
        found.append(
            ServicePort(
                port_name=name,
                protocol=protocol,
                port=number,
                node_port=int(port.get("nodePort") or 0),
                cluster=use.cluster,
                local=use.local,
                anywhere=use.anywhere,
                **common,
            )
        )
    return found


def balancer_addresses(service: Object) -> list[str]:
    """The addresses in the Service's status that packets bear when they come to a node (`ipMode: VIP`)."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [i["ip"] for i in ingress if i.get("ip") and (i.get("ipMode") or "VIP") == "VIP"]


def health_port(service: Object) -> int:
    """The node port on which load balancers ask whether this node has endpoints; 0 if the Service has none."""
    spec = service.get("spec") or {}
    wanted = spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local" and is_ours(service)
    return int(spec.get("healthCheckNodePort") or 0) if wanted else 0


def local_count(slices: Iterable[Object], node: str) -> int:
    """How many ready endpoints the node has, whatever their ports."""
    found = {
        tuple(e["addresses"])
        for piece in slices
        if piece.get("addressType") in ("IPv4", "IPv6")
        for e in piece.get("endpoints") or ()
        if e.get("nodeName") == node and (e.get("conditions") or {}).get("ready") is not False
    }
    families = {":" in addresses[0] for addresses in found if addresses}
    return max((sum((":" in a[0]) == six for a in found if a) for six in families), default=0)


def _source_ranges(service: Object, family: Family) -> tuple[str, ...]:
    texts = service["spec"].get("loadBalancerSourceRanges") or ()
    if not texts:
        texts = [t.strip() for t in annotations_of(service).get(SOURCE_RANGES, "").split(",") if t.strip()]
    found = []
    for text in texts:
        try:
            network = ip_network(text.strip(), strict=False)
        except ValueError:
            continue
        if network.version == family.version:
            found.append(str(network))
    return tuple(dict.fromkeys(found))


def _affinity(spec: dict[str, Any]) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(client.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS)
