"""Objects in and out of the store: the one place where the API server's writes are made.

A write returns once the cache shows it, so that whatever the writer reads next is at least as new.
"""

from __future__ import annotations

import time

from kumo.api.errors import StatusError, already_exists, bad_request, internal
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.bodies import is_deep
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.entry import Entry, make_entry
from kumo.kubernetes.apiserver.keys import object_key
from kumo.kubernetes.apiserver.registry import Resource
from kumo.kubernetes.apiserver.splice import to_stored
from kumo.store.base import CompareFailed, NoSpace, Store, Unavailable

_LEASE_WINDOW = 60.0


class Gone(Exception):
    """A write found that somebody else had changed or deleted the object; `entry` is what is there now."""

    def __init__(self, entry: Entry | None) -> None:
        super().__init__("the object has changed")
        self.entry = entry


class Storage:
    """Reads from the cache, writes to the store. `event_ttl` is how long events are kept, in seconds."""

    def __init__(self, store: Store, cache: Cache, event_ttl: float) -> None:
        self._store = store
        self.cache = cache
        self._event_ttl = event_ttl
        self._lease = 0
        self._lease_until = 0.0

    def get(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The newest state of the object, or None."""
        return self.cache.of(resource.stored.group, resource.stored.resource).get(namespace, name)

    def stored(self, resource: Resource, obj: Object) -> bytes:
        """The value that the object becomes in the store. Raises 400 when it nests too deeply (a patch may add up)."""
        if resource.to_stored is not None:
            obj = resource.to_stored(obj)
        elif resource.stored.version != resource.type.version:
            obj = {**obj, "apiVersion": resource.stored.gvk.api_version}
        value = to_stored(obj)
        if is_deep(value, obj):
            raise bad_request("the object is nested too deeply: exceeded max depth")
        return value

    def draft(self, resource: Resource, obj: Object, revision: int) -> Entry:
        """The entry that the object would be, for answers to writes that keep nothing."""
        meta = obj["metadata"]
        value = self.stored(resource, obj)
        entry = make_entry(meta.get("namespace") or "", meta["name"], revision, value)
        if not revision:
            entry.raw = value  # What was never written has no version.
        return entry

    async def create(self, resource: Resource, obj: Object) -> Entry:
        """Write a new object. Raises 409 AlreadyExists."""
        meta = obj["metadata"]
        namespace, name = meta.get("namespace") or "", meta["name"]
        value = self.stored(resource, obj)
        key = object_key(resource.stored.group, resource.stored.resource, namespace, name)
        lease = await self._event_lease() if resource.stored.kind == "Event" and not resource.stored.group else 0
        try:
            revision = await self._put(key, value, 0, lease)
        except Gone:
            raise already_exists(resource.type.group, resource.type.resource, name) from None
        return self._written(resource, namespace, name, revision, value)

    async def replace(self, resource: Resource, old: Entry, obj: Object) -> Entry:
        """Write the object's new state in place of `old`. Raises Gone."""
        value = self.stored(resource, obj)
        key = object_key(resource.stored.group, resource.stored.resource, old.namespace, old.name)
        lease = await self._event_lease() if resource.stored.kind == "Event" and not resource.stored.group else 0
        revision = await self._put(key, value, old.revision, lease)
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
        try:
            revision = await self._store.delete(key, expect=old.revision)
        except CompareFailed as error:
            raise await self._gone(error) from None
        except (NoSpace, Unavailable) as error:
            raise refused(error) from error
        await self.cache.reach(revision)
        return old.at(revision)

    async def _put(self, key: str, value: bytes, expect: int, lease: int) -> int:
        try:
            revision = await self._store.put(key, value, expect=expect, lease=lease)
        except CompareFailed as error:
            raise await self._gone(error) from None
        except (NoSpace, Unavailable) as error:
            raise refused(error) from error
        await self.cache.reach(revision)
        return revision

    async def _gone(self, error: CompareFailed) -> Gone:
        current = error.current
        if current is None:
            return Gone(None)
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


def refused(error: Exception) -> StatusError:
    """500: the store can't write; its message says why and what to do."""
    return internal(str(error))
