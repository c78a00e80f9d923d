"""What the pod network of one node is made of."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

OVERHEAD = 50
"""What a packet within another one costs: the outer IPv4, UDP and VXLAN headers and the inner Ethernet one."""
OVERHEAD6 = 70
"""The same with an outer IPv6 header."""


@dataclass(frozen=True, slots=True)
class PodNetworkConfig:
    """One node's pod network. Names must be the instance's own, so that instances live side by side.

    `pod_cidr` is this node's range (its first address is the gateway's), `cluster_cidr` the range of all nodes' pods
    (between which nothing is masqueraded; the same as `pod_cidr` by default). `mtu` 0 takes the uplink's
    less the `headroom`.
    `directory` holds the leases and the agent's socket. With `pod_cidr6` (this node's IPv6 range, a /64 or so) and
    `cluster_cidr6` (all nodes') pods have an address of each family.
    """

    bridge: str
    pod_cidr: str
    table: str
    directory: Path
    cluster_cidr: str = ""
    mtu: int = 0
    headroom: int = 0
    """Bytes of the uplink's MTU that packets to other nodes need for themselves."""
    name: str = "kumo"
    pod_cidr6: str = ""
    cluster_cidr6: str = ""

    @property
    def network(self) -> IPv4Network:
        """This node's range of addresses."""
        return IPv4Network(self.pod_cidr)

    @property
    def gateway(self) -> str:
        """The bridge's address: the pods' default route, and where the node's own servers for pods listen."""
        return str(self.network.network_address + 1)

    @property
    def cluster_network(self) -> IPv4Network:
        """All nodes' pods."""
        return IPv4Network(self.cluster_cidr or self.pod_cidr)

    @property
    def socket(self) -> Path:
        """The unix socket on which the agent listens for the forwarder."""
        return self.directory / "cni.sock"

    @property
    def leases(self) -> Path:
        """The file of addresses given out."""
        return self.directory / "leases.json"

    @property
    def network6(self) -> IPv6Network | None:
        """This node's range of IPv6 addresses, if pods have any."""
        return IPv6Network(self.pod_cidr6) if self.pod_cidr6 else None

    @property
    def gateway6(self) -> str:
        """The bridge's IPv6 address; empty without a range."""
        network = self.network6
        return str(network.network_address + 1) if network is not None else ""

    @property
    def cluster_network6(self) -> IPv6Network | None:
        """All nodes' pods' IPv6 addresses."""
        return IPv6Network(self.cluster_cidr6 or self.pod_cidr6) if self.pod_cidr6 else None

    def address6(self, address: str) -> str:
        """The IPv6 address of the pod with that IPv4 address: the same number within the range; empty without one."""
        network = self.network6
        if network is None:
            return ""
        return str(network.network_address + (int(IPv4Address(address)) - int(self.network.network_address)))


@dataclass(frozen=True, slots=True)
class OverlayConfig:
    """One node's end. `address` is the node's own, `pod_cidr` its range, `cluster_cidr` that of all pods.

    The other nodes are reached by addresses of the same family as `address`. With `cluster_cidr6` pods of other nodes
    are reached by both families.
    """

    device: str
    vni: int
    """The network's number: the same on all nodes of a cluster, another one for each cluster."""
    address: str
    pod_cidr: str
    cluster_cidr: str
    bridge: str
    """The pods' bridge on this node, whose MTU the device has too."""
    cluster_cidr6: str = ""
