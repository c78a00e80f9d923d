"""Which devices, addresses and rules a VMI's interface on the pod network needs. Pure."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, uid_of
from kumo.kubevirt.common.launcher_options import Lease, Nic

POD_INTERFACE = "eth0"
BRIDGE = "k6t-eth0"
TAP = "tap0"
BRIDGE_MAC = "02:00:00:00:00:00"
_DEFAULT_NETWORK = "10.0.2.0/24"
_BRIDGE_BINDING_ADDRESS = "169.254.75.10"


class NetworkInvalid(Exception):
    """The VMI asks for a network that cannot be made here; the text says which and why."""


@dataclass(frozen=True, slots=True)
class PodInterface:
    """What the CNI made of the pod's first interface. Addresses are text; `prefix` is the length of its subnet's."""

    mac: str
    mtu: int
    address: str
    prefix: int
    gateway: str = ""
    routes: tuple[tuple[str, int, str], ...] = ()
    """Other routes: destination, prefix length, gateway (empty for one that is on the link)."""


@dataclass(frozen=True, slots=True)
class PortRule:
    """One port that the guest offers; protocol `tcp` or `udp`."""

    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Binding:
    """What to make in the pod's namespace, and what to tell the launcher."""

    kind: str
    nic: Nic
    lease: Lease | None
    bridge: str = BRIDGE
    bridge_address: str = ""
    bridge_prefix: int = 24
    guest_address: str = ""
    ports: tuple[PortRule, ...] = ()
    pod: PodInterface = field(default_factory=lambda: PodInterface("", 1500, "", 24))


def default_mac(vmi: Object, name: str) -> str:
    """The MAC of an interface that names none, in QEMU's range: the same for the same VMI and interface always."""
    number = zlib.crc32(f"{uid_of(vmi)}/{name}".encode()) & 0xFFFFFF
    return f"52:54:00:{number >> 16:02x}:{number >> 8 & 0xFF:02x}:{number & 0xFF:02x}"


def hostname_of(vmi: Object) -> str:
    """The guest's host name: `spec.hostname`, else the name up to its first dot, at most 63 characters."""
    spec = vmi.get("spec") or {}
    return str(spec.get("hostname") or vmi["metadata"]["name"].partition(".")[0])[:63]


def pod_binding(vmi: Object, pod: PodInterface, dns: Sequence[str], search: Sequence[str]) -> Binding | None:
    """The binding of the VMI's interface on the pod network; None if it has none.

    Raises NetworkInvalid for bindings and networks that are not supported.
    """
    spec = vmi["spec"]
    interfaces = {i["name"]: i for i in (spec["domain"].get("devices") or {}).get("interfaces") or ()}
    found: Binding | None = None
    for network in spec.get("networks") or ():
        interface = interfaces.get(network["name"])
        if interface is None or interface.get("state") == "absent":
            continue
        if network.get("pod") is None:
            raise NetworkInvalid(f"network {network['name']} is not the pod network; only that one is supported")
        if interface.get("masquerade") is not None:
            found = _masquerade(vmi, network, interface, pod, dns, search)
        elif interface.get("bridge") is not None:
            found = _bridge(vmi, interface, pod, dns, search)
        else:
            raise NetworkInvalid(f"interface {interface['name']} has no binding that is supported: masquerade, bridge")
    return found


def _ports(interface: dict[str, Any]) -> tuple[PortRule, ...]:
    return tuple(
        PortRule((p.get("protocol") or "TCP").lower(), int(p["port"]))
        for p in interface.get("ports") or ()
        if (p.get("protocol") or "TCP").lower() in ("tcp", "udp")
    )


def _masquerade(
    vmi: Object,
    network: dict[str, Any],
    interface: dict[str, Any],
    pod: PodInterface,
    dns: Sequence[str],
    search: Sequence[str],
) -> Binding:
    cidr = network["pod"].get("vmNetworkCIDR") or _DEFAULT_NETWORK
    try:
        inner = ipaddress.IPv4Network(cidr, strict=False)
    except ValueError as error:
        raise NetworkInvalid(f"network {network['name']}: vmNetworkCIDR {cidr!r}: {error}") from None
    if inner.num_addresses < 4:
        raise NetworkInvalid(f"network {network['name']}: vmNetworkCIDR {cidr!r} has no room for gateway and guest")
    gateway, guest = str(inner.network_address + 1), str(inner.network_address + 2)
    mac = (interface.get("macAddress") or default_mac(vmi, interface["name"])).replace("-", ":").lower()
    lease = Lease(
        bridge=BRIDGE,
        mac=mac,
        address=guest,
        prefix=inner.prefixlen,
        server=gateway,
        router=gateway,
        mtu=pod.mtu,
        hostname=hostname_of(vmi),
        dns=tuple(dns),
        search=tuple(search),
    )
    return Binding(
        kind="masquerade",
        nic=Nic(interface["name"], TAP, mac, pod.mtu),
        lease=lease,
        bridge_address=gateway,
        bridge_prefix=inner.prefixlen,
        guest_address=guest,
        ports=_ports(interface),
        pod=pod,
    )


def _bridge(
    vmi: Object, interface: dict[str, Any], pod: PodInterface, dns: Sequence[str], search: Sequence[str]
) -> Binding:
    mac = (interface.get("macAddress") or pod.mac).replace("-", ":").lower()
    subnet = ipaddress.IPv4Network(f"{pod.address}/{pod.prefix}", strict=False)
    routes = [(d, p, g or "0.0.0.0") for d, p, g in pod.routes if (d, p) != (str(subnet.network_address), pod.prefix)]
    outside = bool(pod.gateway) and ipaddress.IPv4Address(pod.gateway) not in subnet
    if outside:
        # A client cannot reach a router outside its subnet unless a route on the link leads there (RFC 3442).
        routes.append((pod.gateway, 32, "0.0.0.0"))
    if routes and pod.gateway:
        routes.append(("0.0.0.0", 0, pod.gateway))
    lease = Lease(
        bridge=BRIDGE,
        mac=mac,
        address=pod.address,
        prefix=pod.prefix,
        server=_BRIDGE_BINDING_ADDRESS,
        router=pod.gateway,
        mtu=pod.mtu,
        hostname=hostname_of(vmi),
        dns=tuple(dns),
        search=tuple(search),
        routes=tuple(dict.fromkeys(routes)),
    )
    return Binding(
        kind="bridge",
        nic=Nic(interface["name"], TAP, mac, pod.mtu),
        lease=lease,
        bridge_address=_BRIDGE_BINDING_ADDRESS,
        bridge_prefix=32,
        pod=pod,
    )


def parse_resolv_conf(text: str) -> tuple[list[str], list[str]]:
    """IPv4 name servers and search domains of a resolv.conf(5); the last `search` line counts."""
    servers: list[str] = []
    search: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_ipv4(words[1]):
            servers.append(words[1])
        elif len(words) > 1 and words[0] in ("search", "domain"):
            search = words[1:]
    return servers, search


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
