"""Makes a binding real. Everything here runs in the calling thread's network namespace and blocks for milliseconds."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import socket
import struct

from kumo.host.network.links import Links
from kumo.host.network.namespaces import set_sysctl
from kumo.host.nftables import Nft
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.virt_handler.network.plan import (
    BRIDGE,
    BRIDGE_MAC,
    POD_INTERFACE,
    TAP,
    Binding,
    NetworkInvalid,
    PodInterface,
)
from kumo.kubevirt.virt_handler.network.rules import masquerade_rules

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_RENAMED = f"{POD_INTERFACE}-nic"


def inspect() -> PodInterface:
    """The pod's interface as the CNI made it. Raises NetworkInvalid when it has no IPv4 address.

    The bridge binding changes what this sees: keep the answer before `apply`.
    """
    with Links() as links:
        link = links.find(POD_INTERFACE)
        if link is None:
            raise NetworkInvalid(f"the pod has no interface {POD_INTERFACE}")
        addresses = links.addresses(POD_INTERFACE)
        if not addresses:
            raise NetworkInvalid(f"the pod's interface {POD_INTERFACE} has no IPv4 address")
        gateway = ""
        routes = []
        for route in links.routes():
            if route.device != link.index:
                continue
            if not route.destination:
                gateway = route.gateway
            else:
                network = ipaddress.IPv4Network(route.destination)
                routes.append((str(network.network_address), network.prefixlen, route.gateway))
        return PodInterface(
            link.mac, link.mtu, addresses[0].address, addresses[0].prefix_length, gateway, tuple(sorted(routes))
        )


def apply(binding: Binding, tun: str) -> None:
    """Make the binding; `tun` is the node's device for making taps. Idempotent. Raises OSError, NftError."""
    if binding.kind == "masquerade":
        _masquerade(binding)
    else:
        _bridge(binding)
    with Links() as links:
        if links.find(TAP) is None:
            links.create_tap(TAP, contract.UID, contract.UID, bridge=BRIDGE, mtu=binding.pod.mtu, tun=tun)


def _masquerade(binding: Binding) -> None:
    with Links() as links:
        links.create_bridge(BRIDGE, mac=BRIDGE_MAC, mtu=binding.pod.mtu)
        links.add_address(BRIDGE, binding.bridge_address, binding.bridge_prefix)
    _switch_off_checksum_offload(BRIDGE)
    set_sysctl("net.ipv4.ip_forward", 1)
    # Without it the kernel drops what the pod's localhost sends to the guest.
    set_sysctl(f"net/ipv4/conf/{BRIDGE}/route_localnet", 1)
    Nft().apply(masquerade_rules(binding))


def _bridge(binding: Binding) -> None:
    """Move the pod's address to the guest: the real interface becomes a port of the bridge, its name and address stay
    on a device that leads nowhere, so that whoever looks at the pod still finds them."""
    pod = binding.pod
    with Links() as links:
        if links.find(_RENAMED) is None:
            links.change(POD_INTERFACE, up=False)
            links.delete_address(POD_INTERFACE, pod.address, pod.prefix)
            links.change(POD_INTERFACE, rename=_RENAMED)
        links.create_bridge(BRIDGE, mac=BRIDGE_MAC, mtu=pod.mtu)
        links.add_address(BRIDGE, binding.bridge_address, binding.bridge_prefix)
        # The guest has the interface's MAC now; the interface must have another one.
        links.change(_RENAMED, mac=_stand_in_mac(pod.mac), bridge=BRIDGE, up=True)
        links.set_port(_RENAMED, learning=False)
        # The placeholder's address is local to the kernel, which must not answer the guest's ARP requests with it.
        set_sysctl("net.ipv4.conf.all.arp_ignore", 1)
        if links.find(POD_INTERFACE) is None:
            _placeholder(links, pod)
    _switch_off_checksum_offload(BRIDGE)


def _placeholder(links: Links, pod: PodInterface) -> None:
    try:
        links.create_dummy(POD_INTERFACE, up=False)
    except OSError:
        # A kernel without the dummy driver: a bridge without ports swallows packets just as well.
        links.create_bridge(POD_INTERFACE, mtu=pod.mtu, up=False)
    links.add_address(POD_INTERFACE, pod.address, pod.prefix)


def _stand_in_mac(mac: str) -> str:
    """Another address for the interface whose own the guest has: locally administered, the last byte turned."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] = (octets[0] | 0x02) & 0xFE
    octets[5] ^= 0xFF
    return ":".join(f"{octet:02x}" for octet in octets)


def _switch_off_checksum_offload(device: str) -> None:
    """Make the kernel checksum what it sends on the bridge: DHCP clients read raw packets and check them."""
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP16x", device.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
