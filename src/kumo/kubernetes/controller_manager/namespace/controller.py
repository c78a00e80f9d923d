"""The shell of the namespace controller."""

from __future__ import annotations

import time
from typing import Any

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, is_deleting, name_of, namespace_of
from kumo.api.resources import GVR, NAMESPACES, PODS
from kumo.kubernetes.controller_manager.monitor import IGNORED, ResourceMonitor
from kumo.kubernetes.controller_manager.namespace.content import Leftovers, status
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

FINALIZER = "kubernetes"


class NamespaceController:
    """Deletes what is in terminating namespaces; goes on whenever one of their objects is gone."""

    name = "namespace-controller"

    def __init__(self, client: Client, informers: Informers, monitor: ResourceMonitor, *, workers: int = 4) -> None:
        self._client = client
        self._monitor = monitor
        self._namespaces = informers.informer(NAMESPACES)
        self._controller = Controller(self.name, self._reconcile, workers=workers)
        self._controller.watch(self._namespaces)
        monitor.observe(self._content_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._monitor.wait_synced()
        await self._controller.run()

    def _content_changed(self, gvr: GVR, old: Object | None, new: Object | None) -> None:
        """Content that is gone, or lost a finalizer, or that came late: look at its namespace again if it ends."""
        name = namespace_of(new or old or {})
        namespace = self._namespaces.get(name) if name else None
        if namespace is not None and is_deleting(namespace) and (old is None or new is None):
            self._controller.queue.add(Key("", name))

    async def _reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.get_key(key)
        if namespace is None or not is_deleting(namespace):
            return None
        if FINALIZER not in ((namespace.get("spec") or {}).get("finalizers") or ()):
            return None
        left = await self._empty(key.name)
        namespace = await self._report(namespace, left)
        if left.is_empty:
            await self._finalize(namespace)
        elif left.discovery_failures or left.deletion_failures:
            return 1.0
        return None

    async def _empty(self, name: str) -> Leftovers:
        """Delete the content: pods first, everything else once they are gone (as upstream since 1.33)."""
        discovery = await self._monitor.refresh()
        left = Leftovers(discovery_failures=dict(discovery.failures))
        await self._delete_all(PODS, name, left)
        if left.resources:
            return left
        deletable = set(discovery.supporting("list", "delete"))
        for gvr in sorted(deletable - {PODS}, key=lambda g: (g.group, g.resource)):
            if gvr.namespaced and ((gvr.group, gvr.resource) not in IGNORED or not gvr.group):
                await self._delete_all(gvr, name, left)
        return left

    async def _delete_all(self, gvr: GVR, namespace: str, left: Leftovers) -> None:
        try:
            found = (await self._client.list(gvr, namespace)).items
            if not found:
                return
            if any(not is_deleting(o) for o in found):
                await self._delete_collection(gvr, namespace, found)
                found = (await self._client.list(gvr, namespace)).items
            left.note(gvr, found)
        except StatusError as error:
            if not is_not_found(error) and error.code != 405:
                left.deletion_failures.append(f"{gvr.group_resource}: {error}")

    async def _delete_collection(self, gvr: GVR, namespace: str, found: list[Object]) -> None:
        served = self._monitor.discovery.resources.get(gvr)
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if served is not None and "deletecollection" in served.verbs:
            await self._client.request("DELETE", gvr.path(namespace), body=options)
            return
        for obj in found:
            try:
                await self._client.delete(gvr, name_of(obj), namespace, propagation="Background")
            except StatusError as error:
                if not is_not_found(error):
                    raise

    async def _report(self, namespace: Object, left: Leftovers) -> Object:
        new = status(namespace, left, time.time())
        if new == namespace.get("status"):
            return namespace
        return await self._client.update_status(NAMESPACES, {**namespace, "status": new})

    async def _finalize(self, namespace: Object) -> None:
        spec = namespace.get("spec") or {}
        left = [f for f in spec.get("finalizers") or () if f != FINALIZER]
        body = {**namespace, "spec": {**spec, "finalizers": left}}
        try:
            await self._client.update(NAMESPACES, body, subresource="finalize")
        except StatusError as error:
            if not is_not_found(error):
                raise
