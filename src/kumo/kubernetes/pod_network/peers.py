"""Which other nodes there are, as the overlay needs them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError, ip_address

from kumo.api.objects import Object, name_of
from kumo.host.network.overlay import Peer


def peer_of(node: Object, family: int = 4) -> Peer | None:
    """The node's IPv4 range and its InternalIP of the family, None while it lacks either."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    ranges = spec.get("podCIDRs") or [spec.get("podCIDR") or ""]
    addresses = [a.get("address") for a in status.get("addresses") or () if a.get("type") == "InternalIP"]
    network = next((n for n in map(_network, ranges) if n is not None), None)
    address = next((a for a in addresses if _family(a) == family), None)
    return Peer(str(network), str(address)) if network is not None and address is not None else None


def peers(nodes: Iterable[Object], own: str, cluster_cidr: str, family: int = 4) -> list[Peer]:
    """The nodes other than `own`, in the order of their ranges, by their addresses of the family.

    Where the ranges of two nodes overlap, the older node keeps it; what lies outside the cluster's range leads nowhere:
    a node must not be able to take over addresses that are not its own.
    """
    whole = IPv4Network(cluster_cidr)
    taken: list[IPv4Network] = []
    found: list[Peer] = []
    for node in sorted(nodes, key=lambda n: (n["metadata"].get("creationTimestamp") or "", name_of(n))):
        peer = peer_of(node, family)
        if peer is None:
            continue
        network = IPv4Network(peer.pod_cidr)
        if not network.subnet_of(whole) or any(network.overlaps(t) for t in taken):
            continue
        taken.append(network)
        if name_of(node) != own:
            found.append(peer)
    return sorted(found, key=lambda p: IPv4Network(p.pod_cidr))


def _network(text: object) -> IPv4Network | None:
    try:
        return IPv4Network(str(text))
    except (AddressValueError, NetmaskValueError, ValueError):
        return None


def _family(text: object) -> int:
    try:
        found = ip_address(str(text))
    except ValueError:
        return 0
    return 0 if found.is_unspecified else found.version
