"""IP addresses and networks (k8s.io/apiserver/pkg/cel/library, ip and cidr)."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any

from kumo.machinery.cel import costs, types
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Cost, Overload, overload

IP_TYPE = types.opaque("net.IP")
CIDR_TYPE = types.opaque("net.CIDR")
_NAMED: Mapping[str, types.Type] = {"ip": IP_TYPE, "cidr": CIDR_TYPE}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Ip:
    """The value of `ip('...')`."""

    __slots__ = ("address",)
    cel_type = IP_TYPE

    def __init__(self, address: Address) -> None:
        self.address = address

    @property
    def cel_size(self) -> int:
        """Bytes."""
        return len(self.address.packed)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ip) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return str(self.address)


class Cidr:
    """The value of `cidr('...')`: an address with the length of its network's prefix."""

    __slots__ = ("network",)
    cel_type = CIDR_TYPE

    def __init__(self, network: Network) -> None:
        self.network = network

    @property
    def cel_size(self) -> int:
        """Bytes of the prefix, rounded up."""
        return -(-self.network.network.prefixlen // 8)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cidr) and self.network == other.network

    def __hash__(self) -> int:
        return hash(self.network)

    def __str__(self) -> str:
        return str(self.network)


def _address(text: str) -> Address:
    quoted = json.dumps(text, ensure_ascii=False)
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        why = "unable to parse IP"
        raise CelError(
            f"IP Address {quoted} parse error during conversion from string: ParseAddr({quoted}): {why}"
        ) from None
    if "%" in text:
        raise CelError(f"IP address {quoted} with zone value is not allowed")
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        raise CelError(f"IPv4-mapped IPv6 address {quoted} is not allowed")
    return found


def _network(text: str) -> Cidr:
    quoted = json.dumps(text, ensure_ascii=False)
    head, slash, length = text.partition("/")
    try:
        if not slash or not length.isdigit() or "%" in head:
            raise ValueError
        found = ipaddress.ip_interface(text)
    except ValueError:
        why = "no '/'" if not slash else "prefix length out of range" if length.isdigit() else "bad bits after slash"
        raise CelError(
            f"network address parse error during conversion from string: netip.ParsePrefix({quoted}): {why}"
        ) from None
    if isinstance(found, ipaddress.IPv6Interface) and found.ip.ipv4_mapped:
        raise CelError(f"IPv4-mapped IPv6 address {quoted} is not allowed")
    return Cidr(found)


def _is_canonical(text: str) -> bool:
    return str(_address(text)) == text


def _works(read: Callable[[str], Any]) -> Callable[[str], bool]:
    def code(text: str) -> bool:
        try:
            read(text)
        except CelError:
            return False
        return True

    return code


def _global_unicast(address: Address) -> bool:
    limited = isinstance(address, ipaddress.IPv4Address) and address == ipaddress.IPv4Address("255.255.255.255")
    return not (
        limited or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    )


def _link_local_multicast(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.packed[:3] == b"\xe0\x00\x00"
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 2


def _contains(network: Cidr, address: Address) -> bool:
    return address in network.network.network


def _contains_network(network: Cidr, other: Cidr) -> bool:
    mine, theirs = network.network.network, other.network.network
    return mine.version == theirs.version and mine.prefixlen <= theirs.prefixlen and theirs.network_address in mine


def _cost(extra: bool, text: bool) -> Cost:
    def cost(args: Any, result: Any) -> int:
        size = args[0].cel_size
        found = costs.factor(size * 2 * costs.STRING_FACTOR)
        if extra:
            found += costs.factor(size * costs.STRING_FACTOR) + 1
        return found + (costs.factor(len(args[1]) * costs.STRING_FACTOR) if text else 0)

    return cost


def overloads() -> list[Overload]:
    """Everything here."""
    text = costs.traversed()

    def put(function: str, line: str, code: Any, cost: Any = None) -> Overload:
        return overload(function, line, code, cost, by_name=True, named=_NAMED)

    return [
        put("ip", "string_to_ip = (string) -> ip", lambda s: Ip(_address(s)), text),
        put("family", "ip_family = ip.() -> int", lambda i: i.address.version),
        put(
            "ip.isCanonical",
            "ip_is_canonical = (string) -> bool",
            _is_canonical,
            costs.traversed(0, 2),
        ),
        put("isUnspecified", "ip_is_unspecified = ip.() -> bool", lambda i: i.address.is_unspecified),
        put("isLoopback", "ip_is_loopback = ip.() -> bool", lambda i: i.address.is_loopback),
        put(
            "isLinkLocalMulticast",
            "ip_is_link_local_multicast = ip.() -> bool",
            lambda i: _link_local_multicast(i.address),
        ),
        put("isLinkLocalUnicast", "ip_is_link_local_unicast = ip.() -> bool", lambda i: i.address.is_link_local),
        put("isGlobalUnicast", "ip_is_global_unicast = ip.() -> bool", lambda i: _global_unicast(i.address)),
        put("isIP", "is_ip = (string) -> bool", _works(_address), text),
        put("string", "ip_to_string = (ip) -> string", str),
        put("cidr", "string_to_cidr = (string) -> cidr", _network, text),
        put(
            "containsIP",
            "cidr_contains_ip_string = cidr.(string) -> bool",
            lambda c, s: _contains(c, _address(s)),
            _cost(False, True),
        ),
        put(
            "containsIP",
            "cidr_contains_ip_ip = cidr.(ip) -> bool",
            lambda c, i: _contains(c, i.address),
            _cost(False, False),
        ),
        put(
            "containsCIDR",
            "cidr_contains_cidr_string = cidr.(string) -> bool",
            lambda c, s: _contains_network(c, _network(s)),
            _cost(True, True),
        ),
        put("containsCIDR", "cidr_contains_cidr = cidr.(cidr) -> bool", _contains_network, _cost(True, False)),
        put("ip", "cidr_ip = cidr.() -> ip", lambda c: Ip(c.network.ip)),
        put("prefixLength", "cidr_prefix_length = cidr.() -> int", lambda c: c.network.network.prefixlen),
        put("masked", "cidr_masked = cidr.() -> cidr", lambda c: _network(str(c.network.network))),
        put("isCIDR", "is_cidr = (string) -> bool", _works(_network), text),
        put("string", "cidr_to_string = (cidr) -> string", str),
    ]
