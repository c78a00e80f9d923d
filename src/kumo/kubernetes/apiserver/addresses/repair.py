"""Keeps Services and IPAddress objects in step, whatever others did to the latter; at start, for all there are.

Writes of services keep them in step themselves (`writes`). What is left: data from before there were IPAddress objects,
and objects that people delete, relabel or make.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, name_of
from kumo.api.resources import GVR, SERVICES
from kumo.kubernetes.apiserver.addresses.findings import Finding, of_address, of_service
from kumo.kubernetes.apiserver.addresses.objects import ADDRESSES, addresses_of, new_address, parent_of
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.reader import CacheReader
from kumo.kubernetes.apiserver.registry import Registry
from kumo.kubernetes.apiserver.storage import Storage
from kumo.machinery.client import Client
from kumo.machinery.events import WARNING, EventRecorder
from kumo.machinery.workqueue import WorkQueue

_log = structlog.get_logger("kumo.apiserver.addresses")
_RANGES = GVR("networking.k8s.io", "v1", "servicecidrs", False)
_AT_ONCE = 64
_SOON = 1.0


class AddressRepair:
    """The repair of one server. `start` listens, `all` looks at everything once, `run` goes on."""

    def __init__(self, cache: Cache, reader: CacheReader, storage: Storage, registry: Registry, client: Client) -> None:
        self._cache, self._reader, self._storage, self._registry = cache, reader, storage, registry
        self._client = client
        self._events = EventRecorder(client, "ipallocator-repair-controller")
        self._queue: WorkQueue[str] = WorkQueue()
        self._last_parents: dict[str, Object] = {}
        """The last states of objects that are gone: they say whose the addresses were."""

    async def start(self) -> None:
        """Make the objects that are missing, then listen to what happens to them."""
        await self.all()
        self._cache.listen(ADDRESSES.group, ADDRESSES.resource, self._changed)

    def _changed(self, _group: str, _resource: str, old: Entry | None, new: Entry | None) -> None:
        if new is not None:
            self._queue.add(new.name)
        elif old is not None:
            self._last_parents[old.name] = old.object()
            self._queue.add(old.name)

    async def all(self) -> None:
        """Look at all services and addresses."""
        missing, gate = 0, asyncio.Semaphore(_AT_ONCE)
        blocks = self._blocks()

        async def one(service: Object, address: str, finding: Finding) -> None:
            async with gate:
                await self._act(service, address, finding)

        work, held = [], {}
        for service in self._reader.objects(SERVICES):
            for address in addresses_of(service):
                found = self._reader.get(ADDRESSES, address)
                held[address] = parent_of(found) if found is not None else None
                finding = of_service(service, address, found, self._parent(found), blocks)
                if finding is None:
                    continue
                if finding.deed == "create":
                    missing += 1
                    finding = Finding("create")  # As data of an older version has it: not worth an event each.
                work.append(one(service, address, finding))
        await asyncio.gather(*work)
        if missing:
            _log.info("IPAddress objects of services were missing", count=missing)
        for address_object in self._reader.objects(ADDRESSES):
            # The others are known to be as they should.
            if held.get(name_of(address_object)) != parent_of(address_object):
                self._queue.add(name_of(address_object))

    def _blocks(self) -> list[str]:
        return [b for r in self._reader.objects(_RANGES) for b in (r.get("spec") or {}).get("cidrs") or ()]

    def _parent(self, found: Object | None) -> Object | None:
        if found is None:
            return None
        group, resource, namespace, name = parent_of(found)
        if group or resource != "services":
            return None
        return self._reader.get(SERVICES, name, namespace)

    async def run(self) -> None:
        """Repair what changes, until cancelled."""
        while True:
            name = await self._queue.get()
            try:
                await self._sync(name)
                self._queue.forget(name)
            except Exception as error:
                if not isinstance(error, StatusError):
                    _log.exception("an address will be looked at again", address=name)
                self._queue.retry(name)
            finally:
                self._queue.done(name)

    async def _sync(self, name: str) -> None:
        found, gone = self._reader.get(ADDRESSES, name), self._last_parents.get(name)
        holder = self._parent(found or gone)
        finding = of_address(found, holder, time.time()) if found is not None else None
        if found is not None and finding is not None:
            await self._act_on(found, finding)
            return
        if holder is None or name not in addresses_of(holder):
            self._last_parents.pop(name, None)
            return
        about = of_service(holder, name, found, holder if found is not None else None, self._blocks())
        if about is not None:
            await self._act(holder, name, about)
        self._last_parents.pop(name, None)

    async def _act(self, service: Object, address: str, finding: Finding) -> None:
        if finding.reason:
            self._events.event(service, WARNING, finding.reason, finding.message)
        if finding.deed == "recreate":
            await self._delete(address)
        if finding.deed in ("create", "recreate"):
            resource = self._registry.find(ADDRESSES.group, ADDRESSES.version, ADDRESSES.resource)
            assert resource is not None
            try:
                await self._storage.create(resource, new_address(address, service))
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
                self._queue.add_after(address, _SOON)

    async def _act_on(self, found: Object, finding: Finding) -> None:
        if finding.deed == "wait":
            self._queue.add_after(name_of(found), finding.after)
            return
        self._events.event(found, WARNING, finding.reason, finding.message)
        await self._delete(name_of(found))

    async def _delete(self, address: str) -> None:
        try:
            await self._client.delete(ADDRESSES, address)
        except StatusError as error:
            if not is_not_found(error):
                raise
