"""Making room: the victims of a preemption are told why and deleted, beside the scheduling of other pods."""

from __future__ import annotations

import asyncio

import structlog

from kumo.api.errors import is_not_found
from kumo.api.objects import timestamp
from kumo.api.resources import PODS
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.preemption import Preemption
from kumo.kubernetes.scheduler.queue import SchedulingQueue
from kumo.kubernetes.scheduler.reporting import UNREACHABLE, Reporter
from kumo.kubernetes.scheduler.watching import scheduler_of
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client

_log = structlog.get_logger("kumo.scheduler")


class Evictor:
    """Deletes victims. Until all but the last of them are asked to go, nothing brings the pod back into the queue."""

    def __init__(self, client: Client, reporter: Reporter, cache: Cache, queue: SchedulingQueue) -> None:
        self._client = client
        self._reporter = reporter
        self._cache = cache
        self._queue = queue

    def begin(self, pod: PodInfo, helping: Preemption) -> None:
        """Hold the pod back from now on, if any victim is still to be told."""
        if any(not v.deleting for v in helping.victims):
            self._queue.hold(pod.uid)

    async def make_room(self, pod: PodInfo, helping: Preemption) -> None:
        """Have the victims go; when one can't be deleted, the pod is tried again at once."""
        victims = [v for v in helping.victims if not v.deleting]
        if not victims:
            return
        *first, last = victims
        try:
            await self._disappoint(pod, helping.node)
            await asyncio.gather(*(self._evict(v, pod, helping.node) for v in first))
            self._queue.release(pod.uid)
            await self._evict(last, pod, helping.node)
        except UNREACHABLE as error:
            _log.warning("preemption failed", pod=pod.name, node=helping.node, error=str(error))
            self._queue.release(pod.uid)
            self._queue.activate(pod.uid)
        finally:
            self._queue.release(pod.uid)
            if not any(self._cache.is_placed(v.uid) for v in helping.victims):
                self._queue.activate(pod.uid)  # they were gone before anybody listened

    async def _disappoint(self, pod: PodInfo, node: str) -> None:
        """Less important pods that wait for room on the node have to look for another."""
        waiting = [
            (uid, other)
            for uid, (there, other) in self._cache.nominated.items()
            if there == node and other.priority < pod.priority and uid != pod.uid
        ]
        for uid, other in waiting:
            self._cache.nominated.pop(uid, None)
            await self._reporter.patch(other, {"nominatedNodeName": None})
            self._queue.activate(uid)

    async def _evict(self, victim: PodInfo, pod: PodInfo, node: str) -> None:
        text = f"{scheduler_of(pod.pod)}: preempting to accommodate a higher priority pod"
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": text,
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(),
        }
        generation = (victim.pod.get("metadata") or {}).get("generation")
        if generation is not None:
            condition["observedGeneration"] = generation
        body = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
        space = victim.namespace
        try:
            await self._client.patch(PODS, victim.name, body, space, kind=STRATEGIC_MERGE_PATCH, subresource="status")
            await self._client.delete(PODS, victim.name, space, uid=victim.uid)
        except UNREACHABLE as error:
            if not is_not_found(error):
                raise
            return
        self._reporter.preempted(victim, pod, node)
