"""The shell that evicts: pods leave nodes with NoExecute taints when they no longer tolerate them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kumo.api.objects import Key, Object, is_deleting, key_of, name_of, namespace_of
from kumo.api.resources import NODES, PODS
from kumo.kubernetes.controller_manager.disruptions import disrupt
from kumo.kubernetes.controller_manager.node_lifecycle.controller import NODE_INDEX, node_index
from kumo.kubernetes.controller_manager.node_lifecycle.taints import evicting, eviction_time
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, EventRecorder
from kumo.machinery.informer import Informers


class TaintEvictionController:
    """Deletes pods from nodes whose NoExecute taints they do not, or no longer, tolerate."""

    name = "taint-eviction-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._nodes = informers.informer(NODES)
        self._pods = informers.informer(PODS)
        self._pods.add_index(NODE_INDEX, node_index)
        self._seen: dict[str, float] = {}
        self._waiting: dict[Key, float] = {}
        """When pods that may stay for a while have to go (epoch seconds)."""
        self._controller = Controller(self.name, self._reconcile, workers=4)
        self._controller.watch(self._pods)
        self._controller.watch(self._nodes, self._pods_of)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _pods_of(self, node: Object) -> Iterable[Key]:
        if evicting(node) or name_of(node) in self._seen:
            return [key_of(pod) for pod in self._pods.by_index(NODE_INDEX, name_of(node))]
        return []

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get_key(key)
        node = self._nodes.get((pod.get("spec") or {}).get("nodeName") or "") if pod is not None else None
        if pod is None or node is None or is_deleting(pod):
            self._waiting.pop(key, None)
            return None
        taints = evicting(node)
        if not taints:
            self._seen.pop(name_of(node), None)
        end = eviction_time(pod, taints, self._seen.setdefault(name_of(node), time.time())) if taints else None
        if end is None:
            self._spare(key, pod)
            return None
        if end > time.time():
            self._waiting[key] = end
            return end - time.time()
        if self._waiting.get(key, end) > end:
            self._spare(key, pod)
        self._waiting.pop(key, None)
        await self._evict(pod)
        return None

    def _spare(self, key: Key, pod: Object) -> None:
        """The pod is not to go at the time that it was to; if there was one, that is told."""
        if self._waiting.pop(key, None) is not None:
            self._recorder.event(pod, NORMAL, "TaintManagerEviction", f"Cancelling deletion of Pod {key}")

    async def _evict(self, pod: Object) -> None:
        self._recorder.event(
            pod, NORMAL, "TaintManagerEviction", f"Marking for deletion Pod {namespace_of(pod)}/{name_of(pod)}"
        )
        text = "Taint manager: deleting due to NoExecute taint"
        await disrupt(self._client, pod, "DeletionByTaintManager", text)
