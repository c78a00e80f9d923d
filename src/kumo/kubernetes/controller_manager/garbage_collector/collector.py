"""The shell of the garbage collector."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Object, is_deleting, uid_of
from kumo.api.resources import GVR
from kumo.kubernetes.controller_manager.garbage_collector.decision import (
    Delete,
    OwnerState,
    SetOwners,
    judge,
    misplaced,
    unblocked,
)
from kumo.kubernetes.controller_manager.garbage_collector.graph import FOREGROUND, ORPHAN, Graph, Node, Owner, without
from kumo.kubernetes.controller_manager.monitor import ResourceMonitor
from kumo.machinery.client import Client
from kumo.machinery.controller import Temporary
from kumo.machinery.events import WARNING, EventRecorder
from kumo.machinery.workqueue import WorkQueue

_log = structlog.get_logger("kumo.garbage-collector")
_UNKNOWN_KIND = 10.0


class GarbageCollector:
    """Works through the uids that the graph points out."""

    name = "generic-garbage-collector"

    def __init__(self, client: Client, monitor: ResourceMonitor, *, workers: int = 10) -> None:
        self._client = client
        self._monitor = monitor
        self._recorder = EventRecorder(client, "garbage-collector-controller")
        self._workers = workers
        self._graph = Graph()
        self._queue: WorkQueue[str] = WorkQueue()
        monitor.observe(self._changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._monitor.wait_synced()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work(), name=self.name)

    def _changed(self, gvr: GVR, old: Object | None, new: Object | None) -> None:
        for uid in self._graph.observe(gvr, new) if new is not None else self._graph.remove(uid_of(old or {})):
            self._queue.add(uid)

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            try:
                await self._process(uid)
                self._queue.forget(uid)
            except Temporary as wait:
                self._queue.add_after(uid, wait.delay)
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                delay = self._queue.retry(uid)
                if not is_conflict(error):
                    _log.warning("will retry", uid=uid, error=str(error), delay=delay)
            except Exception:
                _log.exception("garbage collection failed", uid=uid)
                self._queue.retry(uid)
            except asyncio.CancelledError:
                self._queue.add(uid)  # For the next `run`, if there is one: the component may be begun again.
                raise
            finally:
                self._queue.done(uid)

    async def _process(self, uid: str) -> None:
        node = self._graph.get(uid)
        if node is None or node.gvr is None:
            return
        if node.orphaning:
            await self._orphan(node)
        elif node.foreground:
            await self._release_owner(node)
        elif not node.deleting:
            await self._collect(node)

    # -- an object whose owners may be gone ---------------------------------------------------------------------------

    def _is_kept(self, node: Node) -> bool:
        """Whether the graph alone shows that every owner is there, which spares the API server a question."""
        return all(
            (seen := self._graph.get(owner.uid)) is not None
            and not seen.foreground
            and seen.namespace in ("", node.namespace)
            for owner in node.owners
        )

    async def _collect(self, node: Node) -> None:
        if self._is_kept(node):
            return
        obj = await self._live(node)
        if obj is None or is_deleting(obj) or not obj["metadata"].get("ownerReferences"):
            return
        states = {
            o.uid: await self._owner_state(node, o, obj) for o in map(Owner.of, obj["metadata"]["ownerReferences"])
        }
        waits = any(d.foreground for d in self._graph.dependents(node))
        verdict = judge(obj, states, waits_for_dependents=waits)
        if isinstance(verdict, SetOwners):
            await self._set_owners(node, obj, list(verdict.references))
        elif isinstance(verdict, Delete):
            version = obj["metadata"]["resourceVersion"]
            if verdict.unblock:
                version = await self._set_owners(node, obj, list(unblocked(obj)))
            await self._delete(node, verdict.policy, version)

    async def _owner_state(self, node: Node, owner: Owner, obj: Object) -> OwnerState:
        seen = self._graph.get(owner.uid)
        if seen is not None and seen.gvr is not None:
            if not misplaced(owner, node.namespace, seen.namespace, owner_namespaced=seen.gvr.namespaced):
                waiting = seen.foreground and bool(seen.dependents)
                return OwnerState.WAITING if waiting else OwnerState.SOLID
            self._complain(obj, owner, node)
            return OwnerState.SOLID if not node.namespace else OwnerState.ABSENT
        gvr = self._monitor.discovery.by_kind.get((owner.api_version, owner.kind))
        if gvr is None:
            raise Temporary(f"kind {owner.kind} of {owner.api_version} is not served", _UNKNOWN_KIND)
        if gvr.namespaced and not node.namespace:
            self._complain(obj, owner, node)
            return OwnerState.SOLID
        try:
            live = await self._client.get(gvr, owner.name, node.namespace if gvr.namespaced else "")
        except StatusError as error:
            if is_not_found(error):
                return OwnerState.ABSENT
            raise
        return OwnerState.SOLID if uid_of(live) == owner.uid else OwnerState.ABSENT

    def _complain(self, obj: Object, owner: Owner, node: Node) -> None:
        place = f'namespace "{node.namespace}"' if node.namespace else "the cluster scope"
        text = (
            f"ownerRef [{owner.api_version}/{owner.kind}, namespace: {node.namespace}, name: {owner.name}, "
            f"uid: {owner.uid}] does not exist in {place}"
        )
        self._recorder.event(obj, WARNING, "OwnerRefInvalidNamespace", text)

    # -- an owner that waits for its dependents -----------------------------------------------------------------------

    async def _release_owner(self, node: Node) -> None:
        blocking = self._graph.blocking(node)
        for dependent in blocking:
            if not dependent.foreground:
                self._queue.add(dependent.uid)
        if not blocking:
            await self._drop_finalizer(node, FOREGROUND)

    async def _orphan(self, node: Node) -> None:
        for dependent in self._graph.dependents(node):
            obj = await self._live(dependent)
            if obj is not None:
                references = obj["metadata"].get("ownerReferences") or []
                left = without(references, {node.uid})
                if left != references:
                    await self._set_owners(dependent, obj, left)
        await self._drop_finalizer(node, ORPHAN)

    # -- writes -------------------------------------------------------------------------------------------------------

    async def _live(self, node: Node) -> Object | None:
        """The object as the API server has it now; None (and out of the graph) if it is gone."""
        assert node.gvr is not None
        try:
            obj = await self._client.get(node.gvr, node.name, node.namespace)
        except StatusError as error:
            if not is_not_found(error):
                raise
            obj = {}
        if uid_of(obj) == node.uid:
            return obj
        for uid in self._graph.remove(node.uid):
            self._queue.add(uid)
        return None

    async def _patch(self, node: Node, obj: Object, meta: dict[str, Any]) -> str:
        assert node.gvr is not None
        patch = {"metadata": {**meta, "uid": node.uid, "resourceVersion": obj["metadata"]["resourceVersion"]}}
        try:
            changed = await self._client.patch(node.gvr, node.name, patch, node.namespace)
        except StatusError as error:
            if is_not_found(error):
                return ""
            raise
        return str((changed.get("metadata") or {}).get("resourceVersion") or "")

    async def _set_owners(self, node: Node, obj: Object, references: list[dict[str, Any]]) -> str:
        return await self._patch(node, obj, {"ownerReferences": references or None})

    async def _drop_finalizer(self, node: Node, finalizer: str) -> None:
        obj = await self._live(node)
        if obj is None:
            return
        finalizers = obj["metadata"].get("finalizers") or []
        if finalizer in finalizers:
            await self._patch(node, obj, {"finalizers": [f for f in finalizers if f != finalizer] or None})

    async def _delete(self, node: Node, policy: str, version: str) -> None:
        assert node.gvr is not None
        try:
            await self._client.delete(
                node.gvr, node.name, node.namespace, propagation=policy, uid=node.uid, resource_version=version
            )
        except StatusError as error:
            if not is_not_found(error):
                raise
