"""The scheduler's shell: takes pods from the queue, has them decided on, and writes what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

from kumo.api import conditions
from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Object, is_deleting, labels_of, timestamp, uid_of
from kumo.api.resources import GVR, NAMESPACES, NODES, PODS, core
from kumo.kubernetes.scheduler.assumed import AssumedVolumes
from kumo.kubernetes.scheduler.decision import Placed, Unschedulable, decide
from kumo.kubernetes.scheduler.nodes import Cache, PodInfo
from kumo.kubernetes.scheduler.preemption import Preemption, preempt
from kumo.kubernetes.scheduler.queue import SchedulingQueue
from kumo.kubernetes.scheduler.volume_binding import VolumeBinder, VolumesNotBound
from kumo.kubernetes.scheduler.watching import Watching, wants_node
from kumo.kubernetes.scheduler.world import World
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

CLAIMS = core("persistentvolumeclaims")
VOLUMES = core("persistentvolumes", False)
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)

_log = structlog.get_logger("kumo.scheduler")
_UNREACHABLE = (StatusError, ConnectionError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Which pods are ours, how long a failed one waits (seconds), how long its volumes may take, and the dice."""

    scheduler_name: str = "default-scheduler"
    initial_backoff: float = 1.0
    max_backoff: float = 10.0
    volume_timeout: float = 600.0
    rng: Random = field(default_factory=Random)


class Scheduler:
    """Binds pods to nodes. `recorder` writes the events Scheduled, FailedScheduling and Preempted."""

    name = "scheduler"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        config: SchedulerConfig | None = None,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._config = config or SchedulerConfig()
        self._cache = Cache()
        self._queue = SchedulingQueue(initial=self._config.initial_backoff, ceiling=self._config.max_backoff)
        self._watching = Watching(self._cache, self._queue, self._config.scheduler_name)
        self._pods = informers.informer(PODS)
        self._nodes = informers.informer(NODES)
        self._namespaces = informers.informer(NAMESPACES)
        self._claims = informers.informer(CLAIMS)
        self._volumes = informers.informer(VOLUMES)
        self._classes = informers.informer(STORAGE_CLASSES)
        self._assumed = AssumedVolumes(self._claims, self._volumes, self._classes)
        timeout = self._config.volume_timeout
        self._binder = VolumeBinder(client, self._pods, self._claims, self._volumes, timeout)

    async def run(self) -> None:
        """Schedule until cancelled."""
        everything = (self._nodes, self._namespaces, self._claims, self._volumes, self._classes, self._pods)
        for informer in everything:
            await informer.wait_synced()
        self._nodes.on_change(self._watching.node_changed)
        self._pods.on_change(self._pod_changed)
        for informer in (self._claims, self._volumes, self._classes):
            informer.on_change(self._volume_changed)
        async with asyncio.TaskGroup() as group:
            while True:
                uid = await self._queue.get()
                try:
                    self._schedule(uid, group)
                except Exception:
                    _log.exception("scheduling failed", pod=str(self._watching.pending.get(uid)))
                    self._queue.back_off(uid)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        self._watching.pod_changed(old, new)
        if new is None:
            self._binder.moved()

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        self._watching.volume_changed(old, new)
        self._binder.moved()

    def _world(self) -> World:
        return World(
            nodes=self._cache.nodes,
            namespace_labels=self._namespace_labels,
            volumes=self._assumed.view(),
            nominated=self._cache.nominated,
        )

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        return labels_of(self._namespaces.get(name) or {})

    def _schedule(self, uid: str, group: asyncio.TaskGroup) -> None:
        """One cycle: from the queue to a verdict, without awaiting, so that no change falls in between."""
        key = self._watching.pending.get(uid)
        found = self._pods.get_key(key) if key else None
        if found is None or uid_of(found) != uid or not wants_node(found, self._config.scheduler_name):
            self._queue.remove(uid)
            return
        pod, world = PodInfo.of(found), self._world()
        verdict = decide(pod, world, self._config.rng)
        if isinstance(verdict, Placed):
            self._cache.assume(pod, verdict.node)
            self._assumed.assume(verdict.volumes, verdict.node)
            group.create_task(self._guarded(self._bind(pod, verdict), uid), name=f"bind {key}")
            return
        helping = self._preempt(pod, world, verdict)
        if helping.node:
            self._cache.nominated[uid] = (helping.node, pod)
        self._queue.set_aside(uid, verdict.helps)
        group.create_task(self._guarded(self._refuse(pod, verdict, helping), uid), name=f"refuse {key}")

    def _preempt(self, pod: PodInfo, world: World, verdict: Unschedulable) -> Preemption:
        node, _ = self._cache.nominated.get(pod.uid, ("", None))
        there = self._cache.nodes[node].pods.values() if node in self._cache.nodes else ()
        if any(is_deleting(p.pod) for p in there if p.priority < pod.priority):
            return Preemption(message="preemption: not eligible due to a terminating pod on the nominated node.")
        return preempt(pod, world, verdict)

    async def _guarded(self, writing: Coroutine[Any, Any, None], uid: str) -> None:
        """Keep a mistake in writing one pod's verdict from ending the others'."""
        try:
            await writing
        except Exception:
            _log.exception("writing a verdict failed", uid=uid)
            self._cache.forget(uid)
            self._queue.back_off(uid)

    # -- what was decided becomes true --------------------------------------------------------------------------------

    async def _bind(self, pod: PodInfo, placed: Placed) -> None:
        try:
            await self._binder.bind(pod, placed.volumes, placed.node)
            await self._client.create(
                PODS, _binding(pod, placed.node), pod.namespace, subresource="binding", name=pod.name
            )
        except VolumesNotBound as error:
            self._cache.forget(pod.uid)
            self._recorder.event(pod.pod, WARNING, "FailedScheduling", str(error))
            self._queue.back_off(pod.uid)
            return
        except _UNREACHABLE as error:
            self._cache.forget(pod.uid)
            if is_not_found(error) or is_conflict(error):
                _log.debug("pod went away or is bound", pod=pod.name, error=str(error))
            else:
                _log.warning("binding failed", pod=pod.name, node=placed.node, error=str(error))
                self._recorder.event(pod.pod, WARNING, "FailedScheduling", f"binding rejected: {error}")
            self._queue.back_off(pod.uid)
            return
        finally:
            self._assumed.forget(placed.volumes)
        text = f"Successfully assigned {pod.namespace}/{pod.name} to {placed.node}"
        self._recorder.event(pod.pod, NORMAL, "Scheduled", text)

    async def _refuse(self, pod: PodInfo, verdict: Unschedulable, helping: Preemption) -> None:
        message = verdict.message(helping.message)
        self._recorder.event(pod.pod, WARNING, "FailedScheduling", message)
        status = _unschedulable_status(pod, message, helping.node)
        try:
            if status:
                await self._client.patch(
                    PODS, pod.name, {"status": status}, pod.namespace, kind=STRATEGIC_MERGE_PATCH, subresource="status"
                )
            for victim in helping.victims:
                await self._evict(victim, pod, helping.node)
        except _UNREACHABLE as error:
            if not is_not_found(error):
                _log.warning("pod's condition not written", pod=pod.name, error=str(error))

    async def _evict(self, victim: PodInfo, pod: PodInfo, node: str) -> None:
        text = f"{self._config.scheduler_name}: preempting to accommodate a higher priority pod"
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": text,
            "lastTransitionTime": timestamp(),
        }
        patch = {"status": {"conditions": [condition]}}
        await self._client.patch(
            PODS, victim.name, patch, victim.namespace, kind=STRATEGIC_MERGE_PATCH, subresource="status"
        )
        await self._client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
        self._recorder.event(victim.pod, NORMAL, "Preempted", f"Preempted by pod {pod.uid} on node {node}")


def _binding(pod: PodInfo, node: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }


def _unschedulable_status(pod: PodInfo, message: str, node: str) -> dict[str, Any]:
    """What has to change in the pod's status; empty if it says so already."""
    wanted = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    old = conditions.condition(pod.pod, "PodScheduled") or {}
    status: dict[str, Any] = {}
    if any(old.get(k) != v for k, v in wanted.items()):
        moved = old.get("status") != "False"
        status["conditions"] = [
            {**wanted, "lastProbeTime": None, "lastTransitionTime": timestamp() if moved else old["lastTransitionTime"]}
        ]
    if node and (pod.pod.get("status") or {}).get("nominatedNodeName") != node:
        status["nominatedNodeName"] = node
    return status
