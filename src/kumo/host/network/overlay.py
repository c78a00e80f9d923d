"""The way to other nodes' pods: one VXLAN device a node (RFC 7348), told in advance who is where.

Nothing is learned and nothing is flooded: each other node is a route to its range, a neighbour and a forwarding entry,
all of which follow from its range and address. The hardware addresses are made from the ranges, so that nodes need to
tell each other nothing but what their Node objects say.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Address
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from kumo.api.pod_ranges import range6
from kumo.host.network.config import OverlayConfig
from kumo.host.network.links import Link, Links, mac_for

PORT = 8472
"""The UDP port that Linux has taken for VXLAN since before there was a number for it."""
_PERMANENT = 0x80
_NTF_SELF = 0x02
_ONLINK = 4
_SIX = socket.AF_INET6


class Peer(NamedTuple):
    """Another node: the range of its pods, and the address that it is reached by."""

    pod_cidr: str
    address: str

    @property
    def gateway(self) -> str:
        """The address of its end: the first of its range, which no pod ever has."""
        return str(IPv4Network(self.pod_cidr).network_address)

    @property
    def mac(self) -> str:
        """The hardware address of its end."""
        return mac_for(f"overlay {self.pod_cidr}")

    @property
    def link_local(self) -> str:
        """The IPv6 address of its end, which follows from the hardware address (RFC 4291, appendix A)."""
        octets = bytes.fromhex(self.mac.replace(":", ""))
        interface = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
        return str(IPv6Address(b"\xfe\x80" + bytes(6) + interface))


def network_identifier(ca: bytes) -> int:
    """The network number (24 bits, never 0) of the cluster with this CA (PEM)."""
    key = x509.load_pem_x509_certificate(ca).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return int.from_bytes(digest[:3], "big") or 1


class Overlay:
    """Makes the kernel's state what `peers` say. Every call blocks, and is idempotent. Raises OSError, LookupError."""

    def __init__(self, config: OverlayConfig) -> None:
        self._config = config

    def apply(self, peers: Sequence[Peer]) -> None:
        """Lead to these nodes and to no others; without any, the device goes."""
        if not peers:
            self.remove()
            return
        with Links() as links, IPRoute() as ip:
            index = self._device(links, ip).index
            wanted = {p.gateway: p for p in peers}
            for peer in peers:
                _lead(ip, index, peer)
            for destination in _routes(ip, index) - {p.pod_cidr for p in peers}:
                with _unless(errno.ESRCH):
                    ip.route("del", dst=destination, oif=index)
            for gateway in _neighbours(ip, index) - wanted.keys():
                with _unless(errno.ENOENT):
                    ip.neigh("del", dst=gateway, ifindex=index, state=_PERMANENT)
            self._apply6(ip, index, peers)
            for mac, address in _entries(ip, index) - {(p.mac, p.address) for p in peers}:
                with _unless(errno.ENOENT):
                    ip.fdb("del", ifindex=index, lladdr=mac, dst=address)

    def _apply6(self, ip: Any, index: int, peers: Sequence[Peer]) -> None:
        """The other family's routes and neighbours, if pods have one."""
        config = self._config
        wanted = {}
        if config.cluster_cidr6:
            wanted = {str(range6(p.pod_cidr, config.cluster_cidr, config.cluster_cidr6)): p for p in peers}
        for network, peer in wanted.items():
            with _unless():
                ip.neigh("replace", dst=peer.link_local, lladdr=peer.mac, ifindex=index, state=_PERMANENT, family=_SIX)
                ip.route("replace", dst=network, gateway=peer.link_local, oif=index, family=_SIX)
        for destination in _routes(ip, index, _SIX) - wanted.keys():
            with _unless(errno.ESRCH):
                ip.route("del", dst=destination, oif=index, family=_SIX)
        for gateway in _neighbours(ip, index, _SIX) - {p.link_local for p in wanted.values()}:
            with _unless(errno.ENOENT):
                ip.neigh("del", dst=gateway, ifindex=index, state=_PERMANENT, family=_SIX)

    def remove(self) -> None:
        """Take the device away, and all that leads over it."""
        with Links() as links:
            links.delete(self._config.device)

    def _device(self, links: Links, ip: Any) -> Link:
        config = self._config
        own = Peer(config.pod_cidr, config.address)
        found = links.find(config.device)
        if found is not None and _identity(ip, found.index) != (config.vni, config.address, own.mac):
            links.delete(config.device)
            found = None
        if found is None:
            with _unless(errno.EEXIST):
                ip.link(
                    "add",
                    ifname=config.device,
                    kind="vxlan",
                    vxlan_id=config.vni,
                    **{_local(config.address): config.address},
                    vxlan_port=PORT,
                    vxlan_learning=0,
                    address=own.mac,
                )
        made = links.change(config.device, mtu=links.get(config.bridge).mtu, up=True)
        if [a.address for a in links.addresses(config.device)] != [own.gateway]:
            links.add_address(config.device, own.gateway, 32)
        return made


def _local(address: str) -> str:
    """The name of the field with the device's own address."""
    return "vxlan_local6" if ":" in address else "vxlan_local"


def _lead(ip: Any, index: int, peer: Peer) -> None:
    """The three things that lead to a node."""
    with _unless():
        ip.neigh("replace", dst=peer.gateway, lladdr=peer.mac, ifindex=index, state=_PERMANENT)
        ip.fdb("replace", ifindex=index, lladdr=peer.mac, dst=peer.address, state=_PERMANENT, flags=_NTF_SELF)
        ip.route("replace", dst=peer.pod_cidr, gateway=peer.gateway, oif=index, flags=_ONLINK)


@contextmanager
def _unless(*codes: int) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise OSError(error.code, f"the overlay: {error.args[-1]}") from error


def _identity(ip: Any, index: int) -> tuple[int, str, str]:
    (message,) = ip.get_links(index)
    info = message.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    if data is None:
        return 0, "", ""
    local = data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6") or ""
    return data.get_attr("IFLA_VXLAN_ID"), local, message.get_attr("IFLA_ADDRESS")


def _routes(ip: Any, index: int, family: int = socket.AF_INET) -> set[str]:
    found = ip.get_routes(family=family, table=254, oif=index)
    return {f"{m.get_attr('RTA_DST')}/{m['dst_len']}" for m in found if m.get_attr("RTA_GATEWAY")}


def _neighbours(ip: Any, index: int, family: int = socket.AF_INET) -> set[str]:
    found = ip.get_neighbours(family=family, ifindex=index)
    return {m.get_attr("NDA_DST") for m in found if m["state"] & _PERMANENT}


def _entries(ip: Any, index: int) -> set[tuple[str, str]]:
    found = ip.fdb("dump", ifindex=index)
    return {
        (m.get_attr("NDA_LLADDR"), m.get_attr("NDA_DST"))
        for m in found
        if m["ifindex"] == index and m.get_attr("NDA_DST")
    }
