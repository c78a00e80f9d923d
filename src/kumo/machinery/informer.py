"""A copy of a collection, kept up to date by list and watch, with indexes and handlers.

Objects in the copy are shared, and so are their parts among them (`machinery.compact`): readers must not change them
(copy first, and deeply). They have no `metadata.managedFields`, which are nobody's business here (a write without them
leaves them as they are), as in upstream's own controllers. Handlers are called in order, on the event loop, after the
copy has changed; they must be quick and must not await.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import NamedTuple

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import Key, Object, key_of, labels_of
from kumo.api.resources import GVR
from kumo.machinery.client import Client, WatchEvent
from kumo.machinery.compact import CompactDecoding

Handler = Callable[[Object | None, Object | None], None]
"""Called with (old, new): (None, new) for an addition, (old, None) for a deletion."""
Indexer = Callable[[Object], Iterable[str]]
Trim = Callable[[Object], None]
"""Takes out of a new object what no reader asks for: whole fields of `spec`, whose inner parts may be others' too."""

_log = structlog.get_logger("kumo.informer")
_SHORTEST = 0.05
_LONGEST = 5.0
_LIVED = 1.0


class _Scope(NamedTuple):
    namespace: str
    label_selector: str
    field_selector: str


class Informer:
    """The collection `gvr` (in one namespace, or by selectors, if given) as a local copy."""

    def __init__(
        self,
        client: Client,
        gvr: GVR,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        trim: Trim | None = None,
        decoding: CompactDecoding | None = None,
    ) -> None:
        self.gvr = gvr
        self._trim = trim
        self._client = client
        self._decoding = decoding or CompactDecoding()
        self._scope = _Scope(namespace, label_selector, field_selector)
        self._objects: dict[Key, Object] = {}
        self._indexers: dict[str, Indexer] = {}
        self._indexes: dict[str, dict[str, set[Key]]] = {}
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def synced(self) -> bool:
        """Whether the first list has arrived."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Return once the first list has arrived."""
        await self._synced.wait()

    def get(self, name: str, namespace: str = "") -> Object | None:
        """The object, or None."""
        return self._objects.get(Key(namespace, name))

    def get_key(self, key: Key) -> Object | None:
        """The object, or None."""
        return self._objects.get(key)

    def objects(self, namespace: str = "", labels: dict[str, str] | None = None) -> list[Object]:
        """All objects, of one namespace if given, with all the given labels if given."""
        found = [o for k, o in self._objects.items() if not namespace or k.namespace == namespace]
        if labels:
            wanted = labels.items()
            found = [o for o in found if wanted <= labels_of(o).items()]
        return found

    def add_index(self, name: str, indexer: Indexer) -> None:
        """Keep the index `name`: each object is filed under every string that `indexer` yields for it."""
        if name in self._indexers:
            return
        self._indexers[name] = indexer
        index = self._indexes[name] = {}
        for key, obj in self._objects.items():
            for value in indexer(obj):
                index.setdefault(value, set()).add(key)

    def by_index(self, name: str, value: str) -> list[Object]:
        """The objects filed under `value` in the index `name`."""
        return [self._objects[k] for k in self._indexes[name].get(value, ())]

    def on_change(self, handler: Handler) -> None:
        """Call `handler` for every object there is now, and for every change from now on."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(None, obj)

    # -- keeping up -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """List, then watch, for ever; list again whenever the watch cannot go on from where it was.

        A watch that ends after living a while is resumed at once; one that fails backs off, up to five seconds.
        """
        revision = ""
        delay = _SHORTEST
        self._client = self._client.reading(self._decoding)
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                if not revision:
                    revision = await self._relist()
                    delay = _SHORTEST
                events = self._client.watch(
                    self.gvr,
                    self._scope.namespace,
                    resource_version=revision,
                    label_selector=self._scope.label_selector,
                    field_selector=self._scope.field_selector,
                )
                async with aclosing(events):
                    async for event in events:
                        revision = self._apply(event)
                        delay = _SHORTEST
            except StatusError as error:
                if error.code != 410:
                    _log.warning("list or watch refused", resource=self.gvr.group_resource, error=error.message)
                if error.code != 429:
                    revision = ""
            except (ConnectionError, OSError, TimeoutError) as error:
                _log.debug("connection lost", resource=self.gvr.group_resource, error=str(error))
            except Exception:
                _log.exception("list or watch failed", resource=self.gvr.group_resource)
                revision = ""
            if loop.time() - began > _LIVED:
                delay = _SHORTEST
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _LONGEST)

    def _apply(self, event: WatchEvent) -> str:
        """Bring the copy up to the event; the revision it shows then."""
        if event.type == "DELETED":
            self._remove(key_of(event.object), self._trimmed(event.object))
        elif event.type != "BOOKMARK":
            self._store(self._trimmed(event.object))
        revision: str = event.object["metadata"]["resourceVersion"]
        return revision

    async def _relist(self) -> str:
        scope = self._scope
        answer = await self._client.list(
            self.gvr,
            scope.namespace,
            label_selector=scope.label_selector,
            field_selector=scope.field_selector,
        )
        fresh = {key_of(o): self._trimmed(o) for o in answer.items}
        for key in [k for k in self._objects if k not in fresh]:
            self._remove(key, self._objects[key])
        for obj in fresh.values():
            self._store(obj)
        self._synced.set()
        return answer.resource_version

    def _trimmed(self, obj: Object) -> Object:
        if self._trim is not None:
            self._trim(obj)
        return obj

    def _store(self, obj: Object) -> None:
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None and old["metadata"].get("resourceVersion") == obj["metadata"].get("resourceVersion"):
            return
        if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
            self._remove(key, old)
            old = None
        self._objects[key] = obj
        self._reindex(key, old, obj)
        self._tell(old, obj)

    def _remove(self, key: Key, last: Object) -> None:
        old = self._objects.pop(key, None)
        if old is None:
            return
        self._reindex(key, old, None)
        self._tell(last, None)

    def _reindex(self, key: Key, old: Object | None, new: Object | None) -> None:
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            before = set(indexer(old)) if old is not None else set()
            after = set(indexer(new)) if new is not None else set()
            for value in before - after:
                index[value].discard(key)
                if not index[value]:
                    del index[value]
            for value in after - before:
                index.setdefault(value, set()).add(key)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception:
                _log.exception("an informer's handler failed", resource=self.gvr.group_resource)


class Informers:
    """One informer a collection, shared by all the components of a process. Itself a component."""

    name = "informers"

    def __init__(self, client: Client) -> None:
        self.client = client
        self._decoding = CompactDecoding()
        self._made: dict[tuple[GVR, str, str, str], Informer] = {}
        self._tasks: dict[tuple[GVR, str, str, str], asyncio.Task[None]] = {}
        self._running = False

    def informer(
        self,
        gvr: GVR,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        trim: Trim | None = None,
    ) -> Informer:
        """The shared informer of that collection, made at the first call, whose `trim` holds for all its readers."""
        key = (gvr, namespace, label_selector, field_selector)
        if key not in self._made:
            self._made[key] = Informer(
                self.client,
                gvr,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                trim=trim,
                decoding=self._decoding,
            )
            if self._running:
                self._start(key)
        return self._made[key]

    def _start(self, key: tuple[GVR, str, str, str]) -> None:
        self._tasks[key] = asyncio.create_task(self._made[key].run(), name=f"informer {key[0].group_resource}")

    async def run(self) -> None:
        """Run every informer, those made later too, until cancelled."""
        self._running = True
        for key in self._made:
            self._start(key)
        try:
            await asyncio.Event().wait()
        finally:
            self._running = False
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._tasks.clear()
