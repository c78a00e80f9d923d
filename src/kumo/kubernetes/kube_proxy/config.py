"""What a kube-proxy has to know."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import NamedTuple


class Family(NamedTuple):
    """One family of addresses, as nft, as EndpointSlices and as upstream's metrics name it."""

    keyword: str
    """`ip` or `ip6`."""
    kind: str
    """`IPv4` or `IPv6`."""

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if self.keyword == "ip" else 6

    @property
    def address_type(self) -> str:
        """The type of an address in a set."""
        return f"ipv{self.version}_addr"

    def target(self, address: str, port: int) -> str:
        """Address and port as nft writes them."""
        return f"{address}:{port}" if self.keyword == "ip" else f"[{address}]:{port}"


IPV4, IPV6 = Family("ip", "IPv4"), Family("ip6", "IPv6")


@dataclass(frozen=True, slots=True)
class Network:
    """One family's ranges: of Services, of all nodes' pods; and the bridge's own address."""

    service_cidr: str
    cluster_cidr: str
    gateway: str

    @property
    def family(self) -> Family:
        """Which family it is."""
        return IPV4 if ip_network(self.service_cidr).version == 4 else IPV6


@dataclass(frozen=True, slots=True)
class KubeProxyConfig:
    """One node's kube-proxy. `table` must be the instance's own; so must `service_cidr`, if instances share a machine.

    `bridge` and `gateway` are the pod network's: the node itself reaches Services over them. `cluster_cidr` is the
    range of all nodes' pods: who comes from elsewhere is masqueraded. `mark` is the bit of the packet mark for that.
    `second` is the other family's network, if there is one. Node ports are served on the node's addresses within
    `node_port_addresses` (all of them by default). `/healthz` and `/metrics` are served at `healthz` and `metrics`,
    `host:port` each, or not at all.
    """

    table: str
    node_name: str
    service_cidr: str
    cluster_cidr: str
    bridge: str
    gateway: str
    mark: int = 0x4000
    second: Network | None = None
    node_port_addresses: tuple[str, ...] = ()
    healthz: str = ""
    metrics: str = ""

    @property
    def networks(self) -> tuple[Network, ...]:
        """Every family's network, IPv4 first."""
        first = Network(self.service_cidr, self.cluster_cidr, self.gateway)
        return (first,) if self.second is None else (first, self.second)
