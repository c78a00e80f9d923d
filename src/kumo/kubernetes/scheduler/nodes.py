"""Nodes as the scheduler sees them: what they offer, which pods are on them, and what those ask for.

`PodInfo` and `NodeInfo` hold what is computed once per object and asked for in every decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, controller_of, key_of, labels_of, name_of, uid_of
from kumo.api.pod_resources import add
from kumo.kubernetes.scheduler.requests import (
    Amounts,
    HostPort,
    amounts,
    host_ports,
    pod_requests,
    scoring_requests,
)

Term = dict[str, Any]
TERMINAL_PHASES = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class PodInfo:
    """A pod with everything that decisions ask of it. `priority` orders pods, higher first."""

    pod: Object
    uid: str
    name: str
    namespace: str
    labels: dict[str, str]
    priority: int
    requests: Amounts
    scoring: Amounts
    ports: tuple[HostPort, ...]
    owner: str
    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    preferred_affinity: tuple[Term, ...]
    preferred_anti_affinity: tuple[Term, ...]

    @property
    def spec(self) -> dict[str, Any]:
        """The pod's spec."""
        return self.pod.get("spec") or {}

    @property
    def is_choosy(self) -> bool:
        """Whether the pod has any say about its neighbours."""
        return bool(self.affinity or self.anti_affinity or self.preferred_affinity or self.preferred_anti_affinity)

    @classmethod
    def of(cls, pod: Object) -> PodInfo:
        """The info of a pod. Raises ValueError for requests that are no quantities."""
        spec = pod.get("spec") or {}
        affinity = spec.get("affinity") or {}
        near, far = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
        key, owner = key_of(pod), controller_of(pod)
        return cls(
            pod=pod,
            uid=uid_of(pod),
            name=key.name,
            namespace=key.namespace,
            labels=labels_of(pod),
            priority=int(spec.get("priority") or 0),
            requests=pod_requests(pod),
            scoring=scoring_requests(pod),
            ports=host_ports(pod),
            owner=owner["uid"] if owner else "",
            affinity=_terms(near, "requiredDuringSchedulingIgnoredDuringExecution"),
            anti_affinity=_terms(far, "requiredDuringSchedulingIgnoredDuringExecution"),
            preferred_affinity=_terms(near, "preferredDuringSchedulingIgnoredDuringExecution"),
            preferred_anti_affinity=_terms(far, "preferredDuringSchedulingIgnoredDuringExecution"),
        )


def _terms(affinity: dict[str, Any], field_name: str) -> tuple[Term, ...]:
    return tuple(affinity.get(field_name) or ())


@dataclass(slots=True)
class NodeInfo:
    """A node and its pods. `node` is empty while only its pods are known; such a node is never chosen."""

    name: str
    node: Object = field(default_factory=dict)
    allocatable: Amounts = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)
    requested: Amounts = field(default_factory=dict)
    scoring: Amounts = field(default_factory=dict)
    choosy: dict[str, PodInfo] = field(default_factory=dict)
    """Those of its pods that have a say about their neighbours: for most new pods no others need be looked at."""

    @property
    def labels(self) -> dict[str, str]:
        """The node's labels."""
        return labels_of(self.node)

    @property
    def taints(self) -> list[dict[str, Any]]:
        """The node's taints."""
        return (self.node.get("spec") or {}).get("taints") or []

    @property
    def ports(self) -> Iterable[HostPort]:
        """The host ports that its pods take."""
        return (port for pod in self.pods.values() for port in pod.ports)

    def set_node(self, node: Object) -> None:
        """Take over a newer version of the node."""
        status = node.get("status") or {}
        self.node = node
        self.allocatable = amounts(status.get("allocatable") or status.get("capacity"))

    def add_pod(self, pod: PodInfo) -> None:
        """Count the pod in, in place of an older version of it."""
        self.remove_pod(pod.uid)
        self.pods[pod.uid] = pod
        if pod.is_choosy:
            self.choosy[pod.uid] = pod
        add(self.requested, pod.requests)
        add(self.scoring, pod.scoring)

    def remove_pod(self, uid: str) -> None:
        """Count the pod out, if it is there."""
        pod = self.pods.pop(uid, None)
        self.choosy.pop(uid, None)
        if pod is not None:
            add(self.requested, {k: -v for k, v in pod.requests.items()})
            add(self.scoring, {k: -v for k, v in pod.scoring.items()})

    def clone(self) -> NodeInfo:
        """A copy whose pods can be changed without touching this one."""
        other = copy(self)
        other.pods = dict(self.pods)
        other.choosy = dict(self.choosy)
        other.requested = dict(self.requested)
        other.scoring = dict(self.scoring)
        return other


class Cache:
    """All nodes with their pods, those included that are assumed there while their binding is being written."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.nominated: dict[str, tuple[str, PodInfo]] = {}
        self._where: dict[str, str] = {}
        self._assumed: set[str] = set()

    def set_node(self, node: Object) -> None:
        """A node was added or changed."""
        self._info(name_of(node)).set_node(node)

    def remove_node(self, name: str) -> None:
        """A node is gone; its pods are kept until they go too."""
        info = self.nodes.get(name)
        if info is not None:
            info.node, info.allocatable = {}, {}
            self._drop_empty(name)

    def set_pod(self, pod: Object) -> None:
        """A pod was added or changed: count it on its node, or nowhere if it has none or has ended."""
        uid = uid_of(pod)
        node = (pod.get("spec") or {}).get("nodeName") or ""
        ended = (pod.get("status") or {}).get("phase") in TERMINAL_PHASES
        if not node and uid in self._assumed:
            return
        if not node or ended or self._where.get(uid, node) != node:
            self._remove(uid)
        if node and not ended:
            self._assumed.discard(uid)
            self.nominated.pop(uid, None)
            self._where[uid] = node
            self._info(node).add_pod(PodInfo.of(pod))

    def remove_pod(self, uid: str) -> None:
        """A pod is gone."""
        self.nominated.pop(uid, None)
        self._remove(uid)

    def assume(self, pod: PodInfo, node: str) -> None:
        """Count the pod on the node before the API server says so."""
        self._assumed.add(pod.uid)
        self.nominated.pop(pod.uid, None)
        self._where[pod.uid] = node
        self._info(node).add_pod(pod)

    def forget(self, uid: str) -> None:
        """The binding of an assumed pod failed."""
        if uid in self._assumed:
            self._remove(uid)

    def is_placed(self, uid: str) -> bool:
        """Whether the pod is on a node, or assumed to be."""
        return uid in self._where

    def _info(self, name: str) -> NodeInfo:
        if name not in self.nodes:
            self.nodes[name] = NodeInfo(name)
        return self.nodes[name]

    def _remove(self, uid: str) -> None:
        self._assumed.discard(uid)
        name = self._where.pop(uid, None)
        if name is not None:
            self.nodes[name].remove_pod(uid)
            self._drop_empty(name)

    def _drop_empty(self, name: str) -> None:
        info = self.nodes[name]
        if not info.node and not info.pods:
            del self.nodes[name]
