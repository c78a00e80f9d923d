"""Which node answers for the addresses of load balancers, and how: the address on the bridge, and a word to neighbours.

A machine answers ARP for each of its addresses on every device, so an address on the bridge is one that the whole
segment reaches; for IPv6 it has to be told so. For each address one node is chosen by hashing; all nodes come to the
same choice without talking.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from kumo.api.conditions import is_true
from kumo.api.objects import Object, annotations_of, labels_of, name_of
from kumo.host.network.links import Links
from kumo.host.network.namespaces import set_sysctl
from kumo.kubernetes.kube_proxy.endpoints import addresses_of
from kumo.kubernetes.kube_proxy.services import balancer_addresses, is_ours

OWNED = "kumo.dev/load-balancer"
"""The annotation by which the controller of load balancers tells the nodes to answer for a Service's addresses."""
_EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
_ARP, _IPV6, _BROADCAST = 0x0806, 0x86DD, b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1").packed


def candidates(nodes: Iterable[Object], own: str) -> list[str]:
    """The nodes that may answer: those that are ready and not excluded; ourselves, where none is known to be."""
    found = [name_of(n) for n in nodes if is_true(n, "Ready") and _EXCLUDED not in labels_of(n)]
    return sorted(found) or [own]


def chosen(address: str, nodes: Iterable[str]) -> str:
    """The node that answers for the address; when a node comes or goes, few addresses move."""
    return max(nodes, key=lambda n: hashlib.sha256(f"{address}/{n}".encode()).digest(), default="")


def is_owned(service: Object) -> bool:
    """Whether the nodes have to answer for the Service's balancer addresses: the cloud's own controller says so."""
    return (service.get("spec") or {}).get("type") == "LoadBalancer" and OWNED in annotations_of(service)


def addresses(service: Object, serving: Mapping[str, int], nodes: list[str], own: str) -> set[str]:
    """The Service's balancer addresses that node `own` answers for; `serving` is its ready endpoints by node.

    Where the client's address is to be kept (externalTrafficPolicy Local), only nodes with endpoints count.
    """
    if not is_ours(service) or not is_owned(service):
        return set()
    able = nodes
    if service["spec"].get("externalTrafficPolicy") == "Local":
        able = [n for n in nodes if serving.get(n)] or nodes
    found = {a for kind in ("IPv4", "IPv6") for a in addresses_of(balancer_addresses(service), kind)}
    return {address for address in found if chosen(address, able) == own}


class Announcer:
    """Balancers' addresses on one device: those with the full prefix length. Blocks; finds what a killed run left."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._held: set[str] | None = None

    def hold(self, wanted: set[str]) -> None:
        """Have just these addresses. Raises LookupError without the device, and OSError."""
        if wanted == self._held:
            return
        with Links() as links:
            found = [*links.addresses(self._device), *links.addresses(self._device, version=6)]
            present = {a.address for a in found if a.prefix_length == _whole(a.address)}
            for address in present - wanted:
                links.delete_address(self._device, address, _whole(address))
            for address in wanted - present:
                links.add_address(self._device, address, _whole(address))
            uplink = links.uplink()
            if uplink is not None:
                self._answer6(links, uplink.name, present - wanted, wanted)
        if uplink is not None and uplink.mac:
            for address in wanted - present:
                _tell_neighbours(uplink.name, uplink.mac, address)
        self._held = set(wanted)

    def _answer6(self, links: Links, uplink: str, gone: set[str], wanted: set[str]) -> None:
        """IPv6 neighbours get an answer only on the device that has the address, or by proxy."""
        six = {a for a in wanted if ":" in a}
        if six:
            set_sysctl(f"net/ipv6/conf/{uplink}/proxy_ndp", 1)
        for address in {a for a in gone if ":" in a}:
            links.answer_neighbours(uplink, address, yes=False)
        for address in six:
            links.answer_neighbours(uplink, address)


def _whole(address: str) -> int:
    return 32 if ":" not in address else 128


def gratuitous_arp(mac: str, address: str) -> bytes:
    """The frame that says `address` is at `mac` (RFC 826, RFC 5227's announcement)."""
    own, ip = bytes.fromhex(mac.replace(":", "")), IPv4Address(address).packed
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return _BROADCAST + own + struct.pack("!H", _ARP) + head + own + ip + b"\0" * 6 + ip


def unsolicited_advertisement(mac: str, address: str) -> bytes:
    """The frame that says so of an IPv6 address (RFC 4861, sections 4.4 and 7.2.6), overriding what neighbours know."""
    own, ip = bytes.fromhex(mac.replace(":", "")), IPv6Address(address).packed
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + ip + b"\x02\x01" + own
    pseudo = ip + _ALL_NODES + struct.pack("!II", len(body), 58)
    checked = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + ip + _ALL_NODES
    return b"\x33\x33" + _ALL_NODES[-4:] + own + struct.pack("!H", _IPV6) + header + checked


def _checksum(data: bytes) -> int:
    """The Internet's (RFC 1071); the length is even."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _tell_neighbours(device: str, mac: str, address: str) -> None:
    """Neighbours that know the address at another node learn at once; who can't be told learns by asking."""
    six = ":" in address
    frame = unsolicited_advertisement(mac, address) if six else gratuitous_arp(mac, address)
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV6 if six else _ARP)) as wire:
            wire.bind((device, 0))
            wire.send(frame)
    except OSError:
        return
