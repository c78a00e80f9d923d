"""Node ports, when several servers give them out: no two services get the same (addresses: their IPAddress objects).

Each server chooses among what its cache shows free. What another has just given to a service that no cache shows yet
is found out here: before a service is written, each of its new numbers is claimed by a key of the store, which only one
can create. A claim lives by a lease, for longer than a write takes to be seen everywhere; after that, the service
itself says what it holds. (Upstream: `/registry/ranges/servicenodeports`.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.store.base import CompareFailed, LeaseNotFound, Store

PREFIX = "/claims/services/"
_SECONDS = 60.0
_WINDOW = 20.0


class ServiceClaims:
    """The claims of one server on a shared `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lease = 0
        self._lease_until = 0.0

    async def take(self, key: str, new: Object, old: Object | None) -> None:
        """Claim what the service at `key` has and had not. Raises 503 when somebody else has just been given it."""
        before = set(numbers(old)) if old is not None else set()
        for number in sorted(set(numbers(new)) - before):
            try:
                await self._claim(PREFIX + number, key.encode())
            except CompareFailed as error:
                if error.current is None or error.current.value != key.encode():
                    message = f"{number} has just been given to another service; try again"
                    raise StatusError(503, "ServiceUnavailable", message, headers={"Retry-After": "1"}) from None

    async def _claim(self, claim: str, owner: bytes) -> None:
        try:
            await self._store.put(claim, owner, expect=0, lease=await self._current_lease())
        except LeaseNotFound:
            self._lease_until = 0.0
            await self._store.put(claim, owner, expect=0, lease=await self._current_lease())

    async def release(self, key: str, gone: Object) -> None:
        """The service is deleted: what it had claimed lately is free at once."""
        for number in sorted(numbers(gone)):
            found = await self._store.get(PREFIX + number)
            if found is not None and found.value == key.encode():
                try:
                    await self._store.delete(PREFIX + number, expect=found.mod_revision)
                except CompareFailed:
                    continue

    async def _current_lease(self) -> int:
        """A lease for the claims of some seconds, which all end together, each after 40 s at least."""
        now = time.monotonic()
        if now >= self._lease_until:
            self._lease = await self._store.grant(_SECONDS)
            self._lease_until = now + _WINDOW
        return self._lease


def numbers(service: Object) -> Iterator[str]:
    """What a service holds that no other may: ports, with their protocols' pool."""
    spec = service.get("spec") or {}
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield f"port/{port.get('protocol') or 'TCP'}/{port['nodePort']}"
    if spec.get("healthCheckNodePort"):
        yield f"port/TCP/{spec['healthCheckNodePort']}"
