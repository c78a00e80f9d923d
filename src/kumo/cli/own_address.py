"""The addresses that others reach this machine by. Standard library only: the supervisor loads it too."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

_SIOCGIFADDR = 0x8915
_INTERFACES = Path("/sys/class/net")
_OURS = "kumo"
"""What the names of every instance's own interfaces begin with."""


def node_address() -> str:
    """The source of the default route, else the address of an interface (a machine may have a network and no way out
    of it); empty without any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.254", 9))  # no packet is sent: connecting a datagram socket only picks the route
            found = str(probe.getsockname()[0])
            if not ipaddress.ip_address(found).is_loopback:
                return found
        except OSError:
            pass
        return of_an_interface((name for _, name in socket.if_nameindex()), lambda name: _address(probe, name))


def of_an_interface(names: Iterable[str], address: Callable[[str], str], interfaces: Path = _INTERFACES) -> str:
    """The first address that is neither loopback nor of the link alone; hardware comes before bridges and the like."""
    others = [name for name in names if not name.startswith(_OURS)]
    for name in sorted(others, key=lambda n: not (interfaces / n / "device").exists()):
        found = address(name)
        if found and not ipaddress.ip_address(found).is_loopback and not ipaddress.ip_address(found).is_link_local:
            return found
    return ""


def node_address6() -> str:
    """The IPv6 address that others reach this machine by; empty without a route to any."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1", 9))
            found = ipaddress.IPv6Address(probe.getsockname()[0].partition("%")[0])
    except (OSError, ValueError):  # the kernel may have no IPv6 at all
        return ""
    return "" if found.is_link_local or found.is_loopback else str(found)


def _address(probe: socket.socket, name: str) -> str:
    """The interface's IPv4 address, empty if it has none."""
    try:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
    except OSError:
        return ""
    return socket.inet_ntoa(answer[20:24])
