"""Binding: what was decided becomes true. Volumes first, then the pod."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from kumo.api.errors import is_conflict, is_not_found
from kumo.api.objects import Object
from kumo.api.resources import PODS
from kumo.kubernetes.scheduler.assumed import AssumedVolumes
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Resource
from kumo.kubernetes.scheduler.cycle import CycleError
from kumo.kubernetes.scheduler.devices.writing import ClaimWriter, Reservation
from kumo.kubernetes.scheduler.extenders import Extender
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.queue import SchedulingQueue
from kumo.kubernetes.scheduler.reporting import UNREACHABLE, Reporter
from kumo.kubernetes.scheduler.volume_binding import VolumeBinder, VolumesNotBound
from kumo.kubernetes.scheduler.volumes import NodeVolumes
from kumo.machinery.client import Client

_log = structlog.get_logger("kumo.scheduler")


@dataclass(frozen=True, slots=True)
class Needs:
    """What comes before the binding: volumes, within `timeout` seconds, and claims that get devices and the pod."""

    volumes: NodeVolumes
    claims: tuple[Reservation, ...] = ()
    timeout: float = 600.0


class Binder:
    """Writes bindings, each in a task of its own; takes the assumption back when that fails."""

    def __init__(
        self,
        client: Client,
        reporter: Reporter,
        cache: Cache,
        queue: SchedulingQueue,
        assumed: AssumedVolumes,
        volumes: VolumeBinder,
        claims: ClaimWriter,
    ) -> None:
        self._client = client
        self._reporter = reporter
        self._cache = cache
        self._queue = queue
        self._assumed = assumed
        self._volumes = volumes
        self._claims = claims

    async def bind(self, pod: PodInfo, node: str, needs: Needs, extender: Extender | None) -> bool:
        """Bind the pod's volumes, reserve its claims, bind the pod (through an extender); whether it came to that."""
        volumes = needs.volumes
        lengthy = bool(volumes.bindings or volumes.provisions)
        try:
            if lengthy:  # others should know where the pod will be while its volumes are made
                await self._reporter.patch(pod, {"nominatedNodeName": node})
            await self._volumes.bind(pod, volumes, node, needs.timeout)
            await self._claims.reserve(pod, needs.claims)
            awaited = self._claims.awaited(needs.claims)
            if awaited:
                self._reporter.waiting(pod, node)
                await self._claims.wait_ready(awaited)
            if extender is not None:
                await extender.bind(pod, node)
            else:
                await self._client.create(
                    PODS, _binding(pod, node), pod.namespace, subresource="binding", name=pod.name
                )
        except (VolumesNotBound, CycleError) as error:
            await self._claims.release(pod, needs.claims)
            self._take_back(pod)
            if lengthy:
                await self._reporter.patch(pod, {"nominatedNodeName": None})
            await self._reporter.failed(pod, str(error))
            return False
        except UNREACHABLE as error:
            await self._claims.release(pod, needs.claims)
            self._take_back(pod)
            if lengthy:
                await self._reporter.patch(pod, {"nominatedNodeName": None})
            if is_not_found(error) or is_conflict(error):
                _log.debug("pod went away or is bound", pod=pod.name, error=str(error))
                return False
            _log.warning("binding failed", pod=pod.name, node=node, error=str(error))
            await self._reporter.failed(pod, f"binding rejected: {error}")
            return False
        finally:
            self._assumed.forget(volumes)
            self._claims.forget(needs.claims)
        self._reporter.placed(pod, node)
        return True

    def _take_back(self, pod: PodInfo) -> None:
        """The pod is not there after all: it waits again, and others may have its place."""
        self._cache.forget(pod.uid)
        self._queue.back_off(pod.uid)
        self._queue.happened(Happening(Resource.POD, Action.DELETE, pod.pod, None))


def _binding(pod: PodInfo, node: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
