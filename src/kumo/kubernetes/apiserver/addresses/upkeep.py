"""What the API server does for service addresses besides giving them: the default range, and the repair."""

from __future__ import annotations

import asyncio

from kumo.kubernetes.apiserver.addresses.default_range import DefaultRange
from kumo.kubernetes.apiserver.addresses.repair import AddressRepair
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.reader import CacheReader
from kumo.kubernetes.apiserver.registry import Registry
from kumo.kubernetes.apiserver.storage import Storage
from kumo.machinery.client import Client


class Addresses:
    """The upkeep of one server whose ranges are `cidr` (one CIDR, or two by comma)."""

    def __init__(
        self, cidr: str, cache: Cache, reader: CacheReader, storage: Storage, registry: Registry, client: Client
    ) -> None:
        self._range = DefaultRange(cidr.split(","), reader, client)
        self._repair = AddressRepair(cache, reader, storage, registry, client)

    async def start(self) -> None:
        """Put in place what is missing; afterwards services can be made. Raises StatusError."""
        await self._range.start()
        await self._repair.start()

    async def run(self) -> None:
        """Keep it in place, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._range.run(), name="default service range")
            group.create_task(self._repair.run(), name="service addresses")
