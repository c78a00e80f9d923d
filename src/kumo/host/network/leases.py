"""Which pod has which address: a small file that survives everything but the end of the pods themselves.

A lease is written to the disk before the address is used, and taken back when the pod goes; a lease whose network
namespace is gone (after a reboot, or when the runtime forgot a sandbox) is collected.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import msgspec

from kumo.host.network.cni import PortMapping


class Lease(msgspec.Struct, frozen=True):
    """An address and whose it is; `device` is the pair's end on the node."""

    container: str
    interface: str
    address: str
    netns: str
    device: str
    pod: str = ""
    ports: tuple[PortMapping, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """A sandbox may have several interfaces."""
        return self.container, self.interface


class NoAddressLeft(Exception):
    """Every address of the range is given out."""


class Leases:
    """The leases of one range. Not thread-safe: the agent calls it under a lock."""

    def __init__(self, path: Path, network: IPv4Network) -> None:
        self._path = path
        self._network = network
        self._leases: dict[tuple[str, str], Lease] = {}
        self._last = int(network.network_address) + 1
        self._load()

    def _load(self) -> None:
        try:
            body: dict[str, Any] = msgspec.json.decode(self._path.read_bytes())
            found = msgspec.convert(body["leases"], list[Lease])
            self._last = int(IPv4Address(body["last"]))
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
            # Only something outside can have damaged it. The pods that live lose their network, and are made anew.
            self._path.replace(self._path.with_suffix(".damaged"))
            raise ValueError(f"{self._path} is damaged ({error}); it was put aside") from error
        self._leases = {lease.key: lease for lease in found}

    def all(self) -> list[Lease]:
        """Every lease."""
        return list(self._leases.values())

    def get(self, container: str, interface: str) -> Lease | None:
        """The lease of that sandbox's interface, or None."""
        return self._leases.get((container, interface))

    def add(
        self, container: str, interface: str, *, netns: str, device: str, pod: str, ports: tuple[PortMapping, ...]
    ) -> Lease:
        """Give out an address, durably; the same one when the same interface asks again.

        The search begins after the address given out last, so that one that was just freed rests a while.
        Raises NoAddressLeft.
        """
        old = self.get(container, interface)
        address = old.address if old is not None else self._free()
        lease = Lease(container, interface, address, netns, device, pod, ports)
        if lease != old:
            self._leases[lease.key] = lease
            self._last = int(IPv4Address(address))
            self._write()
        return lease

    def _free(self) -> str:
        taken = {lease.address for lease in self._leases.values()}
        first, last = int(self._network.network_address) + 2, int(self._network.broadcast_address) - 1
        count = last - first + 1
        for step in range(1, count + 1):
            address = str(IPv4Address(first + (self._last - first + step) % count))
            if address not in taken:
                return address
        raise NoAddressLeft(f"all {count} pod addresses of {self._network} are in use")

    def remove(self, container: str, interface: str) -> Lease | None:
        """Take the address back, durably; None if there was no lease."""
        lease = self._leases.pop((container, interface), None)
        if lease is not None:
            self._write()
        return lease

    def collect(self, alive: Callable[[Lease], bool]) -> list[Lease]:
        """Take back every lease that is not alive."""
        dead = [lease for lease in self._leases.values() if not alive(lease)]
        for lease in dead:
            del self._leases[lease.key]
        if dead:
            self._write()
        return dead

    def _write(self) -> None:
        body = {"last": str(IPv4Address(self._last)), "leases": list(self._leases.values())}
        temporary = self._path.with_suffix(".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:  # Unlike write(2), it does not stop half-way when the disk is nearly full.
            file.write(msgspec.json.encode(body))
            file.flush()
            os.fdatasync(fd)
        temporary.replace(self._path)
