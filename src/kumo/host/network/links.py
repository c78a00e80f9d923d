"""Bridges, taps, veth pairs, addresses and routes, by rtnetlink (pyroute2).

`Links` works in the network namespace of the thread that opens it. Every call is idempotent where that makes sense:
making what exists already, or deleting what is gone, is no error. All calls block for a fraction of a millisecond;
from a coroutine use them through `asyncio.to_thread` (pyroute2 runs an event loop of its own and refuses otherwise).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_TUNSETGROUP = 0x400454CE
_IFF_TAP = 0x0002
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_NTF_PROXY = 0x08
_NO_DAD = 0x02
"""IFA_F_NODAD."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network device: `master` is the index of the bridge it is a port of (0 for none), `kind` bridge, veth, ..."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    master: int
    kind: str


class Address(NamedTuple):
    """An address of a device, with its prefix length."""

    address: str
    prefix_length: int


class Route(NamedTuple):
    """A route of the main table: `destination` is empty for the default route; `device` is an interface's index."""

    destination: str
    gateway: str
    device: int


def mac_for(text: str) -> str:
    """A locally administered unicast MAC address that is always the same for the same text."""
    digest = hashlib.sha256(text.encode()).digest()
    return ":".join(f"{b:02x}" for b in (0x02, *digest[:5]))


@contextmanager
def _ignoring(*codes: int) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise OSError(error.code, os.strerror(error.code)) from error


class Links:
    """A netlink socket in the namespace of the thread that makes it; use it as a context manager.

    Methods raise OSError (with the kernel's errno) when the kernel refuses, LookupError for a device that is missing.
    """

    def __init__(self) -> None:
        self._ip: Any = IPRoute()

    def __enter__(self) -> Links:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._ip.close()

    # -- devices ----------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Link | None:
        """The device of that name, or None."""
        with _ignoring(errno.ENODEV):
            for message in self._ip.link("get", ifname=name):
                return _link(message)
        return None

    def get(self, name: str) -> Link:
        """The device of that name. Raises LookupError if there is none."""
        found = self.find(name)
        if found is None:
            raise LookupError(f"there is no network device {name}")
        return found

    def all(self) -> list[Link]:
        """Every device of the namespace."""
        return [_link(m) for m in self._ip.get_links()]

    def create_bridge(self, name: str, *, mac: str = "", mtu: int = 0, up: bool = True) -> Link:
        """A bridge; its MAC address is fixed (else it would change with its ports), made from the name by default."""
        with _ignoring(errno.EEXIST):
            self._ip.link("add", ifname=name, kind="bridge", address=mac or mac_for(name))
        return self.change(name, mac=mac, mtu=mtu, up=up)

    def create_dummy(self, name: str, *, up: bool = True) -> Link:
        """A device that swallows everything, to carry addresses. Raises OSError where the kernel has none."""
        with _ignoring(errno.EEXIST):
            self._ip.link("add", ifname=name, kind="dummy")
        return self.change(name, up=up)

    def create_veth(
        self, name: str, peer: str, *, peer_netns: str = "", mtu: int = 0, mac: str = "", peer_mac: str = ""
    ) -> Link:
        """A pair of devices, the second one in the namespace at the path `peer_netns` if given. Both stay down.

        Raises OSError EEXIST if either name is taken.
        """
        far: dict[str, Any] = {"ifname": peer}
        near: dict[str, Any] = {"ifname": name, "kind": "veth"}
        if mtu:
            far["mtu"] = near["mtu"] = mtu
        if mac:
            near["address"] = mac
        if peer_mac:
            far["address"] = peer_mac
        fd = os.open(peer_netns, os.O_RDONLY | os.O_CLOEXEC) if peer_netns else -1
        try:
            if fd >= 0:
                far["net_ns_fd"] = fd
            with _ignoring():
                self._ip.link("add", peer=far, **near)
        finally:
            if fd >= 0:
                os.close(fd)
        return self.get(name)

    def create_tap(
        self,
        name: str,
        uid: int = 0,
        gid: int = 0,
        *,
        bridge: str = "",
        mtu: int = 0,
        mac: str = "",
        multi_queue: bool = False,
        tun: str = "/dev/net/tun",
    ) -> Link:
        """A persistent tap device that uid (and gid) may open without privilege, up, a port of `bridge` if given.

        `tun` is the device node to make it with.
        """
        create_tap(name, uid, gid, multi_queue=multi_queue, tun=tun)
        return self.change(name, bridge=bridge, mtu=mtu, mac=mac, up=True)

    def change(
        self, name: str, *, bridge: str = "", mac: str = "", mtu: int = 0, up: bool | None = None, rename: str = ""
    ) -> Link:
        """Change what is given; the device as it is then. Raises LookupError if it is missing."""
        link = self.get(name)
        wanted: dict[str, Any] = {}
        if bridge:
            wanted["master"] = self.get(bridge).index
        if mac and mac.lower() != link.mac:
            wanted["address"] = mac
        if mtu and mtu != link.mtu:
            wanted["mtu"] = mtu
        if rename:
            wanted["ifname"] = rename
        if up is not None:
            wanted["state"] = "up" if up else "down"
        if wanted:
            with _ignoring():
                self._ip.link("set", index=link.index, **wanted)
        return self.get(rename or name)

    def set_port(self, name: str, *, hairpin: bool | None = None, learning: bool | None = None) -> None:
        """Flags of a bridge's port: `hairpin` lets frames leave by the port they came in on."""
        flags = {"IFLA_BRPORT_MODE": hairpin, "IFLA_BRPORT_LEARNING": learning}
        wanted = {k: int(v) for k, v in flags.items() if v is not None}
        with _ignoring():
            self._ip.brport("set", index=self.get(name).index, **wanted)

    def delete(self, name: str) -> bool:
        """Delete the device; False if there was none."""
        link = self.find(name)
        if link is None:
            return False
        with _ignoring(errno.ENODEV):
            self._ip.link("del", index=link.index)
        return True

    # -- addresses and routes ---------------------------------------------------------------------------------------

    def addresses(self, name: str, *, version: int = 4) -> list[Address]:
        """The device's IPv4 (or, by `version`, IPv6) addresses."""
        found = self._ip.get_addr(index=self.get(name).index, family=2 if version == 4 else 10)
        return [Address(m.get_attr("IFA_LOCAL") or m.get_attr("IFA_ADDRESS"), m["prefixlen"]) for m in found]

    def add_address(self, name: str, address: str, prefix_length: int) -> None:
        """Give the device an address; an IPv6 one serves at once, without looking for others who have it."""
        options = {"flags": _NO_DAD} if ":" in address else {}
        with _ignoring(errno.EEXIST):
            self._ip.addr("add", index=self.get(name).index, address=address, prefixlen=prefix_length, **options)

    def answer_neighbours(self, name: str, address: str, *, yes: bool = True) -> None:
        """Answer on the device when neighbours look for the IPv6 address, which another device has (RFC 4389)."""
        index, verb = self.get(name).index, "replace" if yes else "del"
        with _ignoring(errno.ENOENT):
            self._ip.neigh(verb, dst=address, ifindex=index, flags=_NTF_PROXY, family=socket.AF_INET6)

    def delete_address(self, name: str, address: str, prefix_length: int) -> None:
        """Take an address away."""
        with _ignoring(errno.EADDRNOTAVAIL):
            self._ip.addr("del", index=self.get(name).index, address=address, prefixlen=prefix_length)

    def routes(self) -> list[Route]:
        """The IPv4 routes of the main table."""
        found = []
        for message in self._ip.get_routes(family=2, table=254):
            destination = message.get_attr("RTA_DST")
            text = f"{destination}/{message['dst_len']}" if destination else ""
            found.append(Route(text, message.get_attr("RTA_GATEWAY") or "", message.get_attr("RTA_OIF") or 0))
        return found

    def set_route(self, destination: str, *, device: str = "", gateway: str = "", source: str = "") -> None:
        """Put a route in place of any other to `destination` (`10.96.0.0/16`, or `default`)."""
        wanted: dict[str, Any] = {"dst": "::/0" if destination == "default" and ":" in gateway else destination}
        if device:
            wanted["oif"] = self.get(device).index
        if gateway:
            wanted["gateway"] = gateway
        if source:
            wanted["prefsrc"] = source
        with _ignoring():
            self._ip.route("replace", **wanted)

    def delete_route(self, destination: str, *, device: str = "") -> None:
        """Take a route away."""
        wanted: dict[str, Any] = {"dst": destination}
        if device:
            link = self.find(device)
            if link is None:
                return
            wanted["oif"] = link.index
        with _ignoring(errno.ESRCH, errno.ENODEV):
            self._ip.route("del", **wanted)

    def uplink(self) -> Link | None:
        """The device of the default route, or None on a machine without one."""
        for route in self.routes():
            if not route.destination and route.device:
                return next((link for link in self.all() if link.index == route.device), None)
        return None


def create_tap(name: str, uid: int = 0, gid: int = 0, *, multi_queue: bool = False, tun: str = "/dev/net/tun") -> None:
    """Make a persistent tap device in the calling thread's namespace, owned by `uid` and `gid`. Raises OSError.

    With a virtio-net header (IFF_VNET_HDR) and without packet information, as QEMU and libvirt want it.
    """
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if multi_queue else 0)
    fd = os.open(tun, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(fd, _TUNSETOWNER, uid)
        fcntl.ioctl(fd, _TUNSETGROUP, gid)
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    finally:
        os.close(fd)


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & 1),
        master=message.get_attr("IFLA_MASTER") or 0,
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
    )
