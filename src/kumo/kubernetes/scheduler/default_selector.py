"""The selector that the default spread constraints use: of the pod's services and of the owner that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.objects import controller_of, namespace_of
from kumo.api.resources import GVR, core
from kumo.api.selectors import matches_map
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.machinery.informer import Informers

_BY_SPACE = "namespace"


class DefaultSelectors:
    """Looks services, ReplicaSets, StatefulSets and ReplicationControllers up in informers."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.informer(core("services"))
        self._services.add_index(_BY_SPACE, lambda service: [namespace_of(service)])
        self._owners = {
            ("v1", "ReplicationController"): informers.informer(core("replicationcontrollers")),
            ("apps/v1", "ReplicaSet"): informers.informer(GVR("apps", "v1", "replicasets")),
            ("apps/v1", "StatefulSet"): informers.informer(GVR("apps", "v1", "statefulsets")),
        }

    async def wait_synced(self) -> None:
        """Return once everything is there."""
        for informer in (self._services, *self._owners.values()):
            await informer.wait_synced()

    def of(self, pod: PodInfo) -> Mapping[str, Any]:
        """The pod's selector; the empty one if it has neither services nor an owner of those kinds."""
        labels: dict[str, str] = {}
        for service in self._services.by_index(_BY_SPACE, pod.namespace):
            selector = (service.get("spec") or {}).get("selector")
            if selector and matches_map(selector, pod.labels):
                labels |= selector
        owner = controller_of(pod.pod)
        if owner is None:
            return {"matchLabels": labels} if labels else {}
        kind = (owner.get("apiVersion") or "", owner.get("kind") or "")
        informer = self._owners.get(kind)
        found = informer.get(owner["name"], pod.namespace) if informer is not None else None
        selector = ((found or {}).get("spec") or {}).get("selector") or {}
        if kind[1] == "ReplicationController":
            return {"matchLabels": labels | selector} if labels or selector else {}
        expressions = selector.get("matchExpressions") or []
        labels = labels | (selector.get("matchLabels") or {})
        made: dict[str, Any] = {}
        if labels:
            made["matchLabels"] = labels
        if expressions:
            made["matchExpressions"] = expressions
        return made
