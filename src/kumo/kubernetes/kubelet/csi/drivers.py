"""The CSI drivers that have made themselves known on this node."""

from __future__ import annotations

import asyncio

from kumo.host.csi.client import CsiClient, capability_names
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb

_PATIENCE = 3.0
"""Seconds that a driver which is not there (yet) is waited for: after a restart all register anew."""


class Driver:
    """One driver: its connection, and what its Node service can do."""

    def __init__(self, name: str, endpoint: str, version: tuple[int, ...]) -> None:
        self.name = name
        self.endpoint = endpoint
        self.version = version
        self.client = CsiClient(endpoint)
        self._capabilities: frozenset[str] | None = None

    async def can(self, capability: str) -> bool:
        """Whether its Node service has the capability, by its CSI name. Raises CsiError."""
        if self._capabilities is None:
            answer = await self.client.node.capabilities(pb.NodeGetCapabilitiesRequest())
            self._capabilities = capability_names(answer)
        return capability in self._capabilities


class NoDriver(CsiError):
    """A driver is not there."""

    def __init__(self, name: str) -> None:
        super().__init__("UNAVAILABLE", f"driver name {name} not found in the list of registered CSI drivers")

    @property
    def wire(self) -> str:
        """No call was made: the plain text."""
        return self.message


class Drivers:
    """Who is there, and who waits for whom."""

    def __init__(self) -> None:
        self._known: dict[str, Driver] = {}
        self._changed = asyncio.Condition()

    def get(self, name: str) -> Driver | None:
        """The driver, if it is there."""
        return self._known.get(name)

    def names(self) -> list[str]:
        """All that are there."""
        return sorted(self._known)

    async def add(self, driver: Driver) -> None:
        """A driver has registered; it takes the place of one of the same name."""
        old = self._known.get(driver.name)
        self._known[driver.name] = driver
        if old is not None:
            await old.client.close()
        await self._tell()

    async def remove(self, name: str, endpoint: str) -> None:
        """A driver has gone, unless another has taken its place."""
        found = self._known.get(name)
        if found is None or found.endpoint != endpoint:
            return
        del self._known[name]
        await found.client.close()
        await self._tell()

    async def wait(self, name: str, patience: float = _PATIENCE) -> Driver:
        """The driver, waited for a while. Raises NoDriver."""
        found = self._known.get(name)
        if found is not None:
            return found
        try:
            async with asyncio.timeout(patience), self._changed:
                await self._changed.wait_for(lambda: name in self._known)
        except TimeoutError:
            raise NoDriver(name) from None
        return self._known[name]

    async def close(self) -> None:
        """End all connections."""
        for driver in self._known.values():
            await driver.client.close()
        self._known.clear()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
