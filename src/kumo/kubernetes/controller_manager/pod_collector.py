"""Pod garbage: pods of nodes that are gone or off, pods to be deleted that were never placed, too many ended pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kumo.api.conditions import is_true
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, is_deleting, key_of, name_of, namespace_of, timestamp, uid_of
from kumo.api.resources import NODES, PODS
from kumo.kubernetes.controller_manager import pods as p
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""The taint by which an administrator says that a node is off."""
_SURPLUS = Key("", "")
"""The key that stands for all ended pods together."""
_GONE = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletionByPodGC",
    "message": "PodGC: node no longer exists",
}


@dataclass(frozen=True, slots=True)
class PodCollectorConfig:
    """How many ended pods are kept, and how long a node must be gone before its pods go (seconds)."""

    keep_ended: int = 12500
    quarantine: float = 40.0


def surplus(pods: Sequence[Object], keep: int) -> list[Object]:
    """The oldest ended pods beyond `keep`, evicted ones first."""
    ended = [pod for pod in pods if p.has_ended(pod) and not is_deleting(pod)]
    if keep <= 0 or len(ended) <= keep:
        return []

    def order(pod: Object) -> tuple[bool, str, str]:
        evicted = (pod.get("status") or {}).get("reason") == "Evicted"
        return (not evicted, pod["metadata"].get("creationTimestamp") or "", name_of(pod))

    return sorted(ended, key=order)[: len(ended) - keep]


def is_out_of_service(node: Object) -> bool:
    """Whether the node is said to be off for good: its pods that are to be deleted will never say that they ended."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return not is_true(node, "Ready") and any(taint.get("key") == OUT_OF_SERVICE for taint in taints)


class PodCollector:
    """Deletes pods that nothing will ever end."""

    name = "pod-garbage-collector"

    def __init__(self, client: Client, informers: Informers, config: PodCollectorConfig) -> None:
        self._client = client
        self._config = config
        self._pods = informers.informer(PODS)
        self._nodes = informers.informer(NODES)
        self._missing: dict[Key, str] = {}
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._pods, self._worth_a_look)
        self._nodes.on_change(self._node_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._nodes.wait_synced()
        await self._controller.run()

    def _worth_a_look(self, pod: Object) -> list[Key]:
        node = (pod.get("spec") or {}).get("nodeName")
        lost = bool(node) and self._nodes.get(str(node)) is None
        endless = is_deleting(pod) and (not node or self._is_off(str(node)))
        keys = [key_of(pod)] if lost or endless else []
        return [*keys, _SURPLUS] if p.has_ended(pod) else keys

    def _is_off(self, name: str) -> bool:
        node = self._nodes.get(name)
        return node is not None and is_out_of_service(node)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or (is_out_of_service(new) and not is_out_of_service(old))):
            for pod in self._pods.objects():
                if (pod.get("spec") or {}).get("nodeName") == name_of(old):
                    self._controller.queue.add(key_of(pod))

    async def _reconcile(self, key: Key) -> float | None:
        if key == _SURPLUS:
            for old in surplus(self._pods.objects(), self._config.keep_ended):
                await self._delete(old)
            return None
        pod = self._pods.get_key(key)
        if pod is None:
            self._missing.pop(key, None)
            return None
        node = (pod.get("spec") or {}).get("nodeName")
        if is_deleting(pod) and (not node or self._is_off(node)):
            await self._delete(pod)
        elif not node:
            return None
        elif self._nodes.get(node) is None:
            return await self._orphan(key, pod, node)
        return None

    async def _orphan(self, key: Key, pod: Object, node: str) -> float | None:
        """The node is unknown: wait out the quarantine, then ask the API server itself."""
        if self._missing.get(key) != uid_of(pod):
            self._missing[key] = uid_of(pod)
            return self._config.quarantine
        del self._missing[key]
        try:
            await self._client.get(NODES, node)
        except StatusError as error:
            if not is_not_found(error):
                raise
            await self._delete(pod, _GONE)
        return None

    async def _delete(self, pod: Object, *conditions: dict[str, str]) -> None:
        """Say that the pod has failed, unless it has ended, and delete it at once."""
        name, namespace, uid = name_of(pod), namespace_of(pod), uid_of(pod)
        try:
            if not p.has_ended(pod):
                status: dict[str, Any] = {"phase": "Failed"}
                if conditions:
                    status["conditions"] = [{**c, "lastTransitionTime": timestamp()} for c in conditions]
                patch = {"metadata": {"uid": uid}, "status": status}
                await self._client.patch(PODS, name, patch, namespace, kind=STRATEGIC_MERGE_PATCH, subresource="status")
            await self._client.delete(PODS, name, namespace, grace_period=0, uid=uid)
        except StatusError as error:
            if not is_not_found(error):
                raise
