"""Watches every resource that can be deleted, custom ones too, as they come and go with their definitions.

The garbage collector and the namespace controller share one monitor, so that each collection is watched once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from kumo.api import conditions
from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CRDS, GVR
from kumo.kubernetes.controller_manager.discovery import Discovery, discover
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer, Informers

IGNORED = {("", "events"), ("events.k8s.io", "events")}
"""Collections that nobody owns and that change all the time."""

Observer = Callable[[GVR, Object | None, Object | None], None]
"""Called with the resource, the old and the new object."""

_log = structlog.get_logger("kumo.monitor")
SYNC_PATIENCE = 30.0
"""Seconds for all resources to be listed."""
_RETRY = 1.0
_RETRY_INCOMPLETE = 5.0


class ResourceMonitor:
    """One informer for each resource with the verbs list, watch and delete.

    Built-in resources use the process's shared informers; those of definitions have their own, which end with them.
    """

    name = "resource-monitor"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._informers = informers
        self._definitions = informers.informer(CRDS, trim=_without_schemas)
        self._definitions.on_change(self._definition_changed)
        self._observers: list[Observer] = []
        self._resource_observers: list[Callable[[], None]] = []
        self._watched: dict[GVR, Informer] = {}
        self._own: dict[GVR, asyncio.Task[None]] = {}
        self._given_up: set[GVR] = set()
        """Those that are not waited for any more."""
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()
        self.discovery = Discovery()

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every change in any resource; to be called before `run`."""
        self._observers.append(observer)

    def observe_resources(self, observer: Callable[[], None]) -> None:
        """Call `observer` after resources have come or gone; to be called before `run`."""
        self._resource_observers.append(observer)

    def informer(self, group: str, resource: str) -> Informer | None:
        """The synced informer of a watched resource, in whichever version; None if there is none (yet)."""
        for gvr, informer in self._watched.items():
            if gvr.group == group and gvr.resource == resource and informer.synced:
                return informer
        return None

    async def wait_synced(self) -> None:
        """Return when every resource found at first has been listed, or given up for now."""
        await self._ready.wait()

    async def refresh(self) -> Discovery:
        """Ask the server again what it serves."""
        self.discovery = await discover(self._client)
        return self.discovery

    async def run(self) -> None:
        """Run until cancelled: discover at start and whenever definitions change. It may be called again."""
        await self._definitions.wait_synced()
        for gvr in list(self._own):  # Of an earlier run, with which they ended.
            self._follow(gvr)
        try:
            while True:
                self._changed.clear()
                try:
                    await self.refresh()
                    before = set(self._watched)
                    self._adjust()
                except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                    _log.warning("discovery failed", error=str(error))
                    await asyncio.sleep(_RETRY)
                    continue
                await self._synced()
                if set(self._watched) != before:
                    for observer in self._resource_observers:
                        observer()
                self._ready.set()
                await self._wait_for_change()
        finally:
            for task in self._own.values():
                task.cancel()
            await asyncio.gather(*self._own.values(), return_exceptions=True)

    async def _synced(self) -> None:
        """Wait until every resource has been listed, but not forever.

        One that can't be listed, as when the conversion webhook of its definition is away, must not keep the others
        from being looked after (upstream waits as long). It is taken up whenever it can be listed.
        """
        deadline = asyncio.get_running_loop().time() + SYNC_PATIENCE
        for gvr, informer in list(self._watched.items()):
            if informer.synced or gvr in self._given_up:
                continue
            try:
                async with asyncio.timeout_at(deadline):
                    await informer.wait_synced()
            except TimeoutError:
                self._given_up.add(gvr)
                _log.warning("a resource can't be listed; going on without it", resource=gvr.group_resource)

    async def _wait_for_change(self) -> None:
        """Definitions changed, or what could not be discovered deserves another try."""
        found = {(g.group, g.resource) for g in self.discovery.resources}
        incomplete = bool(self.discovery.failures) or not self._defined() <= found
        try:
            async with asyncio.timeout(self._patience() if incomplete else None):
                await self._changed.wait()
        except TimeoutError:
            return

    def _patience(self) -> float:
        """Seconds until the next try: a new definition is served at once, a group that fails may fail for long."""
        return _RETRY_INCOMPLETE if self.discovery.failures else _RETRY

    def _definition_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or _served(old) != _served(new):
            self._changed.set()

    def _defined(self) -> set[tuple[str, str]]:
        """Group and resource of what definitions define: they must turn up in discovery before long."""
        return {(gvr.group, gvr.resource) for d in self._definitions.objects() for gvr in _served(d)}

    def _adjust(self) -> None:
        wanted = {
            gvr
            for gvr in self.discovery.supporting("list", "watch", "delete")
            if (gvr.group, gvr.resource) not in IGNORED
        }
        groups = {(d.get("spec") or {}).get("group") for d in self._definitions.objects()}
        for gvr in wanted - set(self._watched):
            self._start(gvr, custom=gvr.group in groups)
        failed = {f.partition("/")[0] for f in self.discovery.failures}
        for gvr in [g for g in self._watched if g not in wanted and g.group not in failed]:
            self._stop(gvr)

    def _start(self, gvr: GVR, *, custom: bool) -> None:
        if custom:
            informer = self._watched[gvr] = Informer(self._client, gvr)
            self._follow(gvr)
        else:
            informer = self._watched[gvr] = self._informers.informer(gvr)
        informer.on_change(lambda old, new: self._tell(gvr, old, new))

    def _follow(self, gvr: GVR) -> None:
        self._own[gvr] = asyncio.create_task(self._watched[gvr].run(), name=f"monitor {gvr.group_resource}")

    def _stop(self, gvr: GVR) -> None:
        informer = self._watched.pop(gvr)
        self._given_up.discard(gvr)
        task = self._own.pop(gvr, None)
        if task is not None:
            task.cancel()
        for obj in informer.objects():
            self._tell(gvr, obj, None)

    def _tell(self, gvr: GVR, old: Object | None, new: Object | None) -> None:
        if gvr in self._watched or new is None:
            for observer in self._observers:
                observer(gvr, old, new)


def _served(definition: Object) -> list[GVR]:
    """The served versions of an established definition, newest first as it lists them."""
    if not conditions.is_true(definition, "Established"):
        return []
    spec = definition.get("spec") or {}
    namespaced = spec.get("scope") == "Namespaced"
    return [
        GVR(spec["group"], version["name"], spec["names"]["plural"], namespaced)
        for version in spec.get("versions") or ()
        if version.get("served")
    ]


def _without_schemas(definition: Object) -> None:
    """Leave out what makes definitions large (megabytes, once decoded), and what nobody here reads."""
    spec = definition.get("spec") or {}
    if spec.get("versions"):
        spec["versions"] = [{k: v for k, v in each.items() if k != "schema"} for each in spec["versions"]]
