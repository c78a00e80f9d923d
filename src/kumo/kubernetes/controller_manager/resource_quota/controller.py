"""The shell of the quota controller."""

from __future__ import annotations

import asyncio
import time
from copy import deepcopy

from kumo.api.errors import is_not_found
from kumo.api.objects import Key, Object, key_of, name_of, namespace_of
from kumo.api.quota import Amounts, Resource, Tally
from kumo.api.quota.amounts import add, growth
from kumo.api.resources import GVR, core
from kumo.kubernetes.controller_manager.monitor import ResourceMonitor
from kumo.kubernetes.controller_manager.resource_quota.decision import decide
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

QUOTAS = core("resourcequotas")
_SETTLE = 1.0
"""Seconds that a write has, from its charge until its object shows, before the count is taken for the truth."""


class ResourceQuotaController:
    """Writes the status of quotas. It costs nothing in namespaces without one."""

    name = "resourcequota-controller"

    def __init__(self, client: Client, informers: Informers, monitor: ResourceMonitor) -> None:
        self._client = client
        self._monitor = monitor
        self._quotas = informers.informer(QUOTAS)
        self._tallies: dict[Key, tuple[Object, Tally]] = {}
        self._released: dict[Key, Amounts] = {}
        self._by_namespace: dict[str, set[Key]] = {}
        self._settling: dict[Key, float] = {}
        self._controller = Controller(self.name, self._reconcile)
        self._quotas.on_change(self._quota_changed)
        monitor.observe(self._object_changed)
        monitor.observe_resources(self._resources_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._quotas.wait_synced()
        await self._monitor.wait_synced()
        await self._controller.run()

    def _quota_changed(self, old: Object | None, new: Object | None) -> None:
        found = new if new is not None else old
        assert found is not None
        key = key_of(found)
        if new is None:
            self._forget(key)
            return
        self._by_namespace.setdefault(key.namespace, set()).add(key)
        if old is None or old.get("spec") != new.get("spec"):
            self._controller.queue.add(key)
        else:
            self._later(key)

    def _later(self, key: Key) -> None:
        """Look again once the writes that are charged now must have shown."""
        self._settling[key] = time.monotonic() + _SETTLE
        self._controller.queue.add_after(key, _SETTLE)

    def _forget(self, key: Key) -> None:
        self._tallies.pop(key, None)
        self._released.pop(key, None)
        self._settling.pop(key, None)
        keys = self._by_namespace.get(key.namespace, set())
        keys.discard(key)
        if not keys:
            self._by_namespace.pop(key.namespace, None)

    def _object_changed(self, gvr: GVR, old: Object | None, new: Object | None) -> None:
        found = new if new is not None else old
        assert found is not None
        keys = self._by_namespace.get(namespace_of(found))
        if not keys:
            return
        resource = Resource(gvr.group, gvr.resource)
        for key in keys:
            known = self._tallies.get(key)
            if known is not None and resource in known[1].resources:
                self._count(key, known[1], resource, new, name_of(found))

    def _count(self, key: Key, tally: Tally, resource: Resource, new: Object | None, name: str) -> None:
        before = tally.used((resource,))
        if not (tally.drop(resource, name) if new is None else tally.put(resource, new)):
            return
        released = growth(before, tally.used((resource,)))
        if released:
            self._released[key] = add(self._released.get(key, {}), released)
        self._controller.queue.add(key)

    def _resources_changed(self) -> None:
        """A resource is served that was not, or the other way round: quotas may count more, or less."""
        for key in list(self._tallies):
            del self._tallies[key]
            self._controller.queue.add(key)

    async def _tally(self, key: Key, quota: Object) -> Tally:
        spec = quota.get("spec") or {}
        known = self._tallies.get(key)
        if known is not None and known[0] == spec:
            return known[1]
        tally = Tally(spec)
        self._tallies[key] = (spec, tally)
        for resource in tally.resources:
            informer = self._monitor.informer(resource.group, resource.resource)
            for _ in tally.fill(resource, informer.objects(key.namespace) if informer is not None else ()):
                await asyncio.sleep(0)
        self._released.pop(key, None)
        self._settling.pop(key, None)
        return tally

    async def _reconcile(self, key: Key) -> float | None:
        quota = self._quotas.get_key(key)
        if quota is None:
            return None
        tally = await self._tally(key, quota)
        now = time.time()
        ends = tally.expire(now)
        known = [r for r in tally.resources if self._monitor.informer(r.group, r.resource) is not None]
        released = self._released.pop(key, {})
        settling = self._settling.get(key, 0.0) > time.monotonic()
        outcome = decide(quota, tally.used(known), released if settling else None)
        if outcome.status is not None:
            wanted = deepcopy(quota)
            wanted["status"] = outcome.status
            try:
                await self._client.update_status(QUOTAS, wanted)
            except Exception as error:
                if is_not_found(error):
                    return None
                self._released[key] = add(self._released.get(key, {}), released)
                raise
        delays = [] if ends is None else [max(ends - now, 0.0) + 0.1]
        if not outcome.settled:
            delays.append(_SETTLE)
        return min(delays, default=None)
