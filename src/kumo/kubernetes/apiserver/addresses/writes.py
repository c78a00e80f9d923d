"""A Service's writes, together with those of the IPAddress objects that come or go with it."""

from __future__ import annotations

import msgspec

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.addresses.objects import ADDRESSES, addresses_of, is_of, new_address
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.keys import object_key
from kumo.kubernetes.apiserver.splice import to_stored
from kumo.store.base import CompareFailed, KeyValue, Mutation, Store

_ATTEMPTS = 8


class ServiceWrites:
    """Writes services to `store`; `cache` shows the addresses there are."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store = store
        self._cache = cache

    async def write(self, service: Mutation, new: Object | None, old: Object | None) -> int:
        """Write or delete the service with what belongs to it; the service's revision.

        Raises CompareFailed for the service, 503 when somebody else has just been given one of its addresses.
        """
        changes = self.changes(new, old)
        for _ in range(_ATTEMPTS):
            if not changes:
                return await self._alone(service)
            try:
                return await self._store.commit([*changes, service])
            except CompareFailed as error:
                if error.key == service.key:
                    raise
                await self._check(service)
                changes = _again(changes, error, old)
        raise StatusError(503, "ServiceUnavailable", "the service's addresses keep changing; try again")

    async def _check(self, service: Mutation) -> None:
        """Raise CompareFailed for the service, if it is not as expected either: that comes first."""
        there = await self._store.get(service.key)
        if service.expect is not None and service.expect != (there.mod_revision if there is not None else 0):
            raise CompareFailed(service.key, service.expect, there)

    async def _alone(self, service: Mutation) -> int:
        if service.value is None:
            return await self._store.delete(service.key, expect=service.expect)
        return await self._store.put(service.key, service.value, expect=service.expect)

    def changes(self, new: Object | None, old: Object | None) -> list[Mutation]:
        """What has to be written of IPAddress objects when a service goes from `old` to `new`."""
        after, before = set(addresses_of(new)), set(addresses_of(old))
        found = []
        for address in sorted(after - before):
            assert new is not None
            found.append(Mutation(_key(address), to_stored(new_address(address, new)), 0))
        where = self._cache.of(ADDRESSES.group, ADDRESSES.resource)
        for address in sorted(before - after):
            assert old is not None
            entry = where.get("", address)
            if entry is not None and _may_go(entry.object(), old):
                found.append(Mutation(_key(address), None, entry.revision))
        return found


def _key(address: str) -> str:
    return object_key(ADDRESSES.group, ADDRESSES.resource, "", address)


def _may_go(address: Object, service: Object) -> bool:
    """Whether it is the service's, and nobody wants to be asked before it goes (else the repair sees to it)."""
    return is_of(address, service) and not address["metadata"].get("finalizers")


def _again(changes: list[Mutation], error: CompareFailed, old: Object | None) -> list[Mutation]:
    """The changes for another attempt, after an address turned out to be another than thought. Raises 503."""
    found = []
    for change in changes:
        if change.key != error.key:
            found.append(change)
        elif change.value is not None:
            address = change.key.rpartition("/")[2]
            message = f"{address} has just been given to another service; try again"
            raise StatusError(503, "ServiceUnavailable", message, headers={"Retry-After": "1"})
        elif error.current is not None and old is not None and _may_go(_decoded(error.current), old):
            found.append(change._replace(expect=error.current.mod_revision))
    return found


def _decoded(kv: KeyValue) -> Object:
    found: Object = msgspec.json.decode(kv.value)
    return found
