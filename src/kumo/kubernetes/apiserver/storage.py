"""Objects in and out of the store: the one place where the API server's writes are made.

A write returns once the cache shows it, so that whatever the writer reads next is at least as new.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from time import perf_counter

from kumo.api.errors import StatusError, already_exists, bad_request, internal, too_large, unavailable
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.addresses.writes import ServiceWrites
from kumo.kubernetes.apiserver.bodies import is_deep
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.claims import ServiceClaims
from kumo.kubernetes.apiserver.entry import Entry, make_entry
from kumo.kubernetes.apiserver.instruments import Instruments
from kumo.kubernetes.apiserver.keys import object_key
from kumo.kubernetes.apiserver.registry import Resource
from kumo.kubernetes.apiserver.splice import same_stored, to_stored
from kumo.store.base import (
    CompareFailed,
    LeaseNotFound,
    Mutation,
    OutcomeUnknown,
    Store,
    StoreError,
    TooLarge,
    Unavailable,
)

_LEASE_WINDOW = 60.0
LARGEST = (3 << 19) - 4096
"""The most bytes of an object that any store takes: what etcd does by default (1.5 MiB), but for what goes with it."""


class Gone(Exception):
    """A write found that somebody else had changed or deleted the object; `entry` is what is there now."""

    def __init__(self, entry: Entry | None) -> None:
        super().__init__("the object has changed")
        self.entry = entry


class Storage:
    """Reads from the cache, writes to the store. `event_ttl` is how long events are kept, in seconds."""

    def __init__(self, store: Store, cache: Cache, event_ttl: float, instruments: Instruments | None = None) -> None:
        self._store = store
        self.cache = cache
        self._event_ttl = event_ttl
        self._is_stale: Callable[[str], bool] | None = getattr(store, "is_stale", None)
        self._claims = None if store.exclusive else ServiceClaims(store)
        self._services = ServiceWrites(store, cache)
        self._apart = {"events": self._put_event, "services": self._put_service}
        """How core resources are written that bring along more than a key and a value."""
        self._instruments = instruments
        self._lease = 0
        self._lease_until = 0.0

    def get(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The newest state of the object, or None. Raises 500 for one whose stored value can't be read."""
        where = self.cache.of(resource.stored.group, resource.stored.resource)
        if where.unreadable and (why := where.unreadable.get((namespace, name))) is not None:
            raise internal(why)
        return where.get(namespace, name)

    def is_stale(self, resource: Resource, entry: Entry) -> bool:
        """Whether the object should be written again even unchanged.

        It is encrypted with a key that no longer writes, or lies in a version that no longer is the storage version.
        """
        if resource.outdated(entry):
            return True
        stale = self._is_stale
        if stale is None:
            return False
        return stale(object_key(resource.stored.group, resource.stored.resource, entry.namespace, entry.name))

    def stored(self, resource: Resource, obj: Object) -> bytes:
        """The value that the object becomes in the store.

        Raises 400 when it nests too deeply (patches may add up), 413 when it is too large.
        """
        if resource.to_stored is not None:
            obj = resource.to_stored(obj)
        elif resource.stored.version != resource.type.version:
            obj = {**obj, "apiVersion": resource.stored.gvk.api_version}
        value = to_stored(obj)
        if is_deep(value, obj):
            raise bad_request("the object is nested too deeply: exceeded max depth")
        if len(value) > LARGEST:
            raise too_large(f"the object is too large: {len(value)} bytes, of which {LARGEST} can be stored")
        return value

    async def _value(self, resource: Resource, obj: Object) -> bytes:
        """See `stored`; a webhook may have to be asked."""
        return self.stored(resource, obj) if resource.conversion is None else await self._converted(resource, obj)

    async def _converted(self, resource: Resource, obj: Object) -> bytes:
        return await resource.settled(lambda: self.stored(resource, obj))

    async def draft(self, resource: Resource, obj: Object, revision: int) -> Entry:
        """The entry that the object would be, for answers to writes that keep nothing."""
        meta = obj["metadata"]
        value = await self._value(resource, obj)
        entry = make_entry(meta.get("namespace") or "", meta["name"], revision, value)
        if not revision:
            entry.raw = value  # What was never written has no version.
        return entry

    async def create(self, resource: Resource, obj: Object) -> Entry:
        """Write a new object, which is spent (see `spend`). Raises 409 AlreadyExists."""
        meta = obj["metadata"]
        namespace, name = meta.get("namespace") or "", meta["name"]
        value = await self._value(resource, obj)
        key = object_key(resource.stored.group, resource.stored.resource, namespace, name)
        try:
            revision = await self._put(resource, key, value, 0, obj)
        except Gone:
            raise already_exists(resource.type.group, resource.type.resource, name) from None
        return self._written(resource, namespace, name, revision, value)

    async def replace(self, resource: Resource, old: Entry, obj: Object) -> Entry:
        """Write the object's new state, which is spent, in place of `old`. Raises Gone."""
        value = await self._value(resource, obj)
        if resource.conversion is not None and same_stored(old.raw, value) and not self.is_stale(resource, old):
            return old  # What its webhook makes of the new state is what is stored.
        key = object_key(resource.stored.group, resource.stored.resource, old.namespace, old.name)
        revision = await self._put(resource, key, value, old.revision, obj, old)
        return self._written(resource, old.namespace, old.name, revision, value)

    def _written(self, resource: Resource, namespace: str, name: str, revision: int, value: bytes) -> Entry:
        """The entry of a write: the cache's own, unless somebody has written since."""
        found = self.get(resource, namespace, name)
        return (
            found if found is not None and found.revision == revision else make_entry(namespace, name, revision, value)
        )

    async def remove(self, resource: Resource, old: Entry) -> Entry:
        """Delete the object; its last state at the revision of its deletion. Raises Gone."""
        key = object_key(resource.stored.group, resource.stored.resource, old.namespace, old.name)
        is_service, began = _is_service(resource), perf_counter()
        try:
            if is_service:
                revision = await self._services.write(Mutation(key, None, old.revision), None, old.object())
            else:
                revision = await self._store.delete(key, expect=old.revision)
        except CompareFailed as error:
            raise await self._gone(error) from None
        except StoreError as error:
            self._measure("delete", resource, began, failed=True)
            raise refused(error) from error
        self._measure("delete", resource, began)
        await self._settle(revision)
        if self._claims is not None and is_service:
            await self._claims.release(key, old.object())
        return old.at(revision)

    async def _put(
        self, resource: Resource, key: str, value: bytes, expect: int, obj: Object, old: Entry | None = None
    ) -> int:
        write = None if resource.stored.group else self._apart.get(resource.stored.resource)
        began = perf_counter()
        try:
            if write is None:
                spend(obj)
                revision = await self._store.put(key, value, expect=expect)
            else:
                revision = await write(Mutation(key, value, expect), obj, old)
        except CompareFailed as error:
            raise await self._gone(error) from None
        except StoreError as error:
            self._measure("update" if expect else "create", resource, began, failed=True)
            raise refused(error) from error
        self._measure("update" if expect else "create", resource, began)
        await self._settle(revision)
        return revision

    def _measure(self, operation: str, resource: Resource, began: float, *, failed: bool = False) -> None:
        """Count a request to the store, and how long it took."""
        found = self._instruments
        if found is None:
            return
        labels = (operation, resource.stored.group, resource.stored.resource)
        found.storage_requests.add(*labels)
        found.storage.of(*labels).observe(perf_counter() - began)
        if failed:
            found.storage_errors.add(*labels)

    async def _put_service(self, service: Mutation, obj: Object, old: Entry | None) -> int:
        before = old.object() if old is not None else None
        if self._claims is not None:
            await self._claims.take(service.key, obj, before)
        return await self._services.write(service, obj, before)

    async def _put_event(self, event: Mutation, obj: Object, old: Entry | None) -> int:
        key, value, expect = event
        assert value is not None
        try:
            return await self._store.put(key, value, expect=expect, lease=await self._event_lease())
        except LeaseNotFound:
            self._lease_until = 0.0  # The lease is gone, as when the store was away for longer than it lasts.
            return await self._store.put(key, value, expect=expect, lease=await self._event_lease())

    async def _settle(self, revision: int) -> None:
        try:
            await self.cache.settle(revision)
        except StoreError as error:
            raise refused(error) from error

    async def _gone(self, error: CompareFailed) -> Gone:
        current = error.current
        if current is None or current.value[:1] != b"{":
            return Gone(None)  # What can't be read is there all the same: nobody may create it, or sees it.
        *_, namespace, name = current.key.split("/")
        namespace = namespace if current.key.count("/") == 5 else ""
        return Gone(make_entry(namespace, name, current.mod_revision, current.value))

    async def _event_lease(self) -> int:
        """A lease for events, shared by those of the same minute (as upstream's lease manager)."""
        now = time.monotonic()
        if now >= self._lease_until:
            self._lease = await self._store.grant(self._event_ttl + _LEASE_WINDOW)
            self._lease_until = now + _LEASE_WINDOW
        return self._lease


def spend(obj: Object) -> None:
    """Let go of an object that is bytes now, of all but its name, in place.

    Writes wait for the disk by the dozen. What they let go of the next ones get, still in the processor's caches.
    """
    meta = obj["metadata"]
    obj.clear()
    obj["metadata"] = {key: meta[key] for key in ("name", "namespace") if key in meta}


def _is_service(resource: Resource) -> bool:
    return resource.stored.resource == "services" and not resource.stored.group


def refused(error: StoreError) -> StatusError:
    """The answer to a request that the store did not carry out; its message says why and what to do.

    413 for what the engine can't hold. 503 while it is not available: clients come again. 500 else, and for a write of
    which it is not known whether it was made: a client that came again by itself might make it twice.
    """
    if isinstance(error, TooLarge):
        return too_large(str(error))
    if isinstance(error, Unavailable) and not isinstance(error, OutcomeUnknown):
        answer = unavailable(str(error))
        answer.headers = {"Retry-After": "1"}
        return answer
    return internal(str(error))
