"""The watch cache: everything in the store, kept up to date by the store's own watch.

Writes go to the store and come back through the watch, in revision order, whoever made them. A writer waits until the
cache has reached its write's revision; so whoever was told of a write finds it in the cache. Where other servers write
to the same store, a reader first asks the store for its revision and waits until the cache is there (as upstream's
consistent lists from its cache).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterator

import structlog

from kumo.kubernetes.apiserver.entry import Entry, make_entry
from kumo.kubernetes.apiserver.keys import ROOT, Place, object_key, parse_key
from kumo.kubernetes.apiserver.memory import loading
from kumo.kubernetes.apiserver.resource_cache import ResourceCache
from kumo.store.base import Compacted, Event, KeyValue, OutcomeUnknown, Store, StoreError, Unavailable

_PAGE = 2000
_JSON = b"{"
_TOLD = 10
"""Of how many unreadable objects the log tells one by one."""
_RETRY = 0.5
_PATIENCE = 10.0
"""How long a reader or writer waits for the cache when the store is shared, in seconds: its members may be failing."""
_NUDGE = 0.05
"""After this time of waiting, the store is asked to make its watches tell where they are."""
_log = structlog.get_logger("kumo.apiserver.cache")

Listener = Callable[[str, str, Entry | None, Entry | None], None]
"""Called with (group, resource, old, new) after each change was applied; must be quick."""


class Cache:
    """The objects of every resource as of `revision`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._resources: dict[tuple[str, str], ResourceCache] = {}
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = itertools.count()
        self._task: asyncio.Task[None] | None = None
        self._listeners: dict[tuple[str, str], list[Listener]] = {}
        self.revision = 0
        self._started_at = 0
        self._behind = False
        self._unreadable = 0

    async def start(self) -> None:
        """Read everything, then follow the store."""
        with loading():
            await self._read()
        self._task = asyncio.create_task(self._follow(), name="watch cache")

    async def _read(self) -> None:
        first = page = await self._store.range(ROOT, limit=_PAGE)
        while page.more:
            last = page.kvs[-1].key
            coming = asyncio.ensure_future(
                self._store.range(ROOT, revision=first.revision, limit=_PAGE, start_after=last)
            )
            await asyncio.sleep(0)  # The store reads the next page while this one is taken in.
            self._load(page.kvs)
            page = await coming
        self._load(page.kvs)
        self.revision = self._started_at = first.revision
        for found in self._resources.values():
            found.revision = found.hub.oldest = first.revision

    def _load(self, kvs: list[KeyValue]) -> None:
        """Take in what was there when the server started."""
        for kv in kvs:
            place = parse_key(kv.key)
            if kv.value[:1] != _JSON:
                self._note_unreadable(kv, place)
                continue
            entry = make_entry(place.namespace, place.name, kv.mod_revision, kv.value)
            self.of(place.group, place.resource).load(entry)

    async def stop(self) -> None:
        """Stop following; end every watch."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for found in self._resources.values():
            found.hub.close()
        for _, _, waiter in self._waiters:
            waiter.cancel()
        self._waiters.clear()

    def of(self, group: str, resource: str) -> ResourceCache:
        """The objects of one resource."""
        found = self._resources.get((group, resource))
        if found is None:
            found = self._resources[(group, resource)] = ResourceCache(group, resource, self._started_at)
        return found

    def __iter__(self) -> Iterator[ResourceCache]:
        """Every resource that anything is known of."""
        return iter(list(self._resources.values()))

    def listen(self, group: str, resource: str, listener: Listener) -> None:
        """Call `listener` after each change of the resource."""
        self._listeners.setdefault((group, resource), []).append(listener)

    async def reach(self, revision: int) -> None:
        """Return once the cache is at `revision` or later. Raises Unavailable when it does not come to it in time."""
        if self.revision >= revision:
            return
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._count), waiter))
        if self._store.exclusive:
            await waiter
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await waiter
        except TimeoutError:
            raise Unavailable(
                f"the store is at revision {revision}, but its watch has not come further than {self.revision}"
            ) from None

    async def settle(self, revision: int) -> None:
        """Return once the cache shows the write that was made at `revision`. Raises OutcomeUnknown."""
        if self.revision < revision:
            try:
                await self.reach(revision)
            except Unavailable as error:
                raise OutcomeUnknown(f"the write was made, but can't be shown yet: {error}") from error

    async def catch_up(self) -> None:
        """Return once the cache shows every write, by anybody, that was acknowledged before the call.

        Raises Unavailable when the store does not say, or the cache does not come so far.
        """
        if self._store.exclusive:
            return
        revision = await self._store.current_revision()
        if self.revision >= revision:
            return
        reached = asyncio.ensure_future(self.reach(revision))
        try:
            done, _ = await asyncio.wait((reached,), timeout=_NUDGE)
            if not done:
                # Somebody who is not of ours may have written: of that, our watch tells only when it is asked to.
                await self._store.advance()
            await reached
        finally:
            reached.cancel()

    async def _follow(self) -> None:
        while True:
            try:
                if self._behind:
                    await self._reload()
                    self._behind = False
                async for batch in self._store.watch(
                    ROOT, self.revision, previous=False, progress=not self._store.exclusive
                ):
                    self._apply(batch)
                return
            except Compacted:
                _log.error("the cache fell behind the store's compaction; reading everything again")
                self._behind = True
            except StoreError as error:
                # Every write waits for this task: it must go on where it is, for as long as the store is there.
                _log.error("the cache can't read from the store", error=str(error))
                await asyncio.sleep(_RETRY)
            except Exception:
                _log.exception("the cache can't read from the store")
                await asyncio.sleep(_RETRY)

    async def _reload(self) -> None:
        """Compare the cache with all that the store has, and apply the differences."""
        revision, after, seen = 0, "", set()
        while True:
            page = await self._store.range(ROOT, revision=revision, limit=_PAGE, start_after=after)
            revision = page.revision
            for kv in page.kvs:
                place = parse_key(kv.key)
                seen.add(place)
                known = self.of(place.group, place.resource).get(place.namespace, place.name)
                if known is None or known.revision != kv.mod_revision:
                    self._put(kv)
            if not page.more:
                break
            after = page.kvs[-1].key
        for (group, resource), found in self._resources.items():
            for entry in [e for chunks in found.chunks() for e in chunks]:
                if (group, resource, entry.namespace, entry.name) not in seen:
                    self._delete(group, resource, entry.namespace, entry.name, revision)
            found.revision = found.hub.oldest = revision
            found.hub.close()
        self._reached(revision)

    def _apply(self, batch: list[Event]) -> None:
        for event in batch:
            try:
                if event.type == "put":
                    self._put(event.kv)
                elif event.type == "delete":
                    place = parse_key(event.kv.key)
                    self._delete(place.group, place.resource, place.namespace, place.name, event.kv.mod_revision)
            except Exception:
                _log.exception("a change can't be shown", key=event.kv.key, revision=event.kv.mod_revision)
        self._reached(batch[-1].kv.mod_revision)

    def _put(self, kv: KeyValue) -> None:
        place = parse_key(kv.key)
        found = self.of(place.group, place.resource)
        if kv.value[:1] != _JSON:
            self._delete(place.group, place.resource, place.namespace, place.name, kv.mod_revision)
            self._note_unreadable(kv, place)
            return
        if found.unreadable:
            found.unreadable.pop((place.namespace, place.name), None)
        old = found.get(place.namespace, place.name)
        new = make_entry(place.namespace, place.name, kv.mod_revision, kv.value)
        found.put(new)
        self._tell(place.group, place.resource, old, new)

    async def retry_unreadable(self) -> None:
        """Read once more what could not be read: there may be a key for it now."""
        for found in self:
            for namespace, name in list(found.unreadable):
                kv = await self._store.get(object_key(found.group, found.resource, namespace, name))
                if kv is not None and kv.value[:1] == _JSON and (namespace, name) in found.unreadable:
                    self._put(kv)

    def _note_unreadable(self, kv: KeyValue, place: Place) -> None:
        """Remember an object that is there but can't be read: it is encrypted, and its key is missing."""
        why = getattr(kv.value, "reason", "no matching prefix found")
        self.of(place.group, place.resource).unreadable[place.namespace, place.name] = why
        self._unreadable += 1
        if self._unreadable <= _TOLD:
            _log.error("a stored object can't be read", key=kv.key, reason=why)
        elif self._unreadable == _TOLD + 1:
            _log.error("more stored objects can't be read; /metrics counts them")

    def _delete(self, group: str, resource: str, namespace: str, name: str, revision: int) -> None:
        found = self.of(group, resource)
        if found.unreadable:
            found.unreadable.pop((namespace, name), None)
        old = found.get(namespace, name)
        found.delete(namespace, name, revision)
        self._tell(group, resource, old, None)

    def _tell(self, group: str, resource: str, old: Entry | None, new: Entry | None) -> None:
        for listener in self._listeners.get((group, resource), ()):
            try:
                listener(group, resource, old, new)
            except Exception:
                _log.exception("a listener failed", resource=resource)

    def _reached(self, revision: int) -> None:
        self.revision = revision
        while self._waiters and self._waiters[0][0] <= revision:
            waiter = heapq.heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)
