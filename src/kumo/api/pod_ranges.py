"""Where a node's pods have their addresses in the second family. Pure; standard library only."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network


def range6(pod_cidr: str, cluster_cidr: str, cluster_cidr6: str) -> IPv6Network:
    """A node's IPv6 range: the /64 with the number that its IPv4 range `pod_cidr` has among its like.

    Every machine of a cluster comes to the same, so that nobody has to be told. Raises ValueError for what is no range.
    """
    own, whole = IPv4Network(pod_cidr), IPv4Network(cluster_cidr)
    number = (int(own.network_address) - int(whole.network_address)) // own.num_addresses
    return IPv6Network((int(IPv6Network(cluster_cidr6).network_address) + (number << 64), 64))
