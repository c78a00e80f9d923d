"""Pods and nodes as the scheduler sees them: what is computed once per object and asked for in every decision."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from kumo.api.objects import Object, is_deleting, key_of, labels_of, uid_of
from kumo.api.pod_requests import Amounts, HostPort, amounts, host_ports, pod_requests
from kumo.api.pod_resources import add
from kumo.kubernetes.scheduler.matching import Matches, Term
from kumo.kubernetes.scheduler.requests import scoring_requests

TERMINAL_PHASES = ("Succeeded", "Failed")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_MEMO = 64


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
    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    preferred_affinity: tuple[Term, ...]
    preferred_anti_affinity: tuple[Term, ...]
    deleting: bool
    claims: tuple[str, ...]
    """The names of claims that its volumes name, ephemeral ones apart."""

    @property
    def spec(self) -> dict[str, Any]:
        """The pod's spec."""
        return self.pod.get("spec") or {}

    @property
    def nominated(self) -> str:
        """The node that preemption made room on for it, if any."""
        return (self.pod.get("status") or {}).get("nominatedNodeName") or ""

    @property
    def tolerations(self) -> list[dict[str, Any]]:
        """The pod's tolerations."""
        return self.spec.get("tolerations") or []

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
        key = key_of(pod)
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
            affinity=_required(near, key.namespace),
            anti_affinity=_required(far, key.namespace),
            preferred_affinity=_preferred(near, key.namespace),
            preferred_anti_affinity=_preferred(far, key.namespace),
            deleting=is_deleting(pod),
            claims=tuple(
                v["persistentVolumeClaim"]["claimName"]
                for v in spec.get("volumes") or ()
                if v.get("persistentVolumeClaim")
            ),
        )

    def renewed(self, pod: Object) -> PodInfo | None:
        """The info of a newer version of the pod in which nothing has changed that decisions look at; else None."""
        old, new = self.pod.get("metadata") or {}, pod.get("metadata") or {}
        if not new.get("generation") or old.get("generation") != new["generation"]:
            return None
        same = labels_of(pod) == self.labels and is_deleting(pod) == self.deleting and _sizes(self.pod) == _sizes(pod)
        return replace(self, pod=pod) if same else None


def _sizes(pod: Object) -> list[Any]:
    """What a resize in place moves besides the spec."""
    status = pod.get("status") or {}
    found: list[Any] = [
        (s.get("resources"), s.get("allocatedResources"))
        for field in ("containerStatuses", "initContainerStatuses")
        for s in status.get(field) or ()
        if s.get("resources") is not None
    ]
    if found:
        found.append([c for c in status.get("conditions") or () if c.get("type") == "PodResizePending"])
    return found


def _required(affinity: dict[str, Any], namespace: str) -> tuple[Term, ...]:
    return tuple(Term.of(t, namespace) for t in affinity.get(_REQUIRED) or ())


def _preferred(affinity: dict[str, Any], namespace: str) -> tuple[Term, ...]:
    return tuple(
        Term.of(t.get("podAffinityTerm") or {}, namespace, int(t.get("weight") or 0))
        for t in affinity.get(_PREFERRED) or ()
    )


@dataclass(slots=True)
class NodeInfo:
    """A node and its pods. `node` is empty while only its pods are known; such a node is never chosen."""

    name: str
    node: Object = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    hard_taints: tuple[dict[str, Any], ...] = ()
    soft_taints: tuple[dict[str, Any], ...] = ()
    unschedulable: bool = False
    allocatable: Amounts = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    """Sizes in bytes by every name that the image has."""
    pods: dict[str, PodInfo] = field(default_factory=dict)
    requested: Amounts = field(default_factory=dict)
    scoring: Amounts = field(default_factory=dict)
    choosy: dict[str, PodInfo] = field(default_factory=dict)
    """Those of its pods that have a say about their neighbours: for most new pods no others need be looked at."""
    repulsive: dict[str, PodInfo] = field(default_factory=dict)
    """Those that keep others away by required anti-affinity."""
    memo: dict[Any, int] = field(default_factory=dict)
    """Counts of pods and scores that were asked for before; forgotten when a pod comes or goes, or the node changes."""
    node_memo: dict[Any, bool] = field(default_factory=dict)
    """What was asked of the node's labels before; forgotten when the node changes."""

    @property
    def zone(self) -> str:
        """Region and zone, by which nodes take turns."""
        region = self.labels.get("topology.kubernetes.io/region", "")
        return f"{region}:\x00:{self.labels.get('topology.kubernetes.io/zone', '')}"

    def set_node(self, node: Object) -> None:
        """Take over a newer version of the node."""
        spec, status = node.get("spec") or {}, node.get("status") or {}
        taints = spec.get("taints") or ()
        self.node = node
        self.labels = labels_of(node)
        self.hard_taints = tuple(t for t in taints if t.get("effect") in ("NoSchedule", "NoExecute"))
        self.soft_taints = tuple(t for t in taints if t.get("effect") == "PreferNoSchedule")
        self.unschedulable = bool(spec.get("unschedulable"))
        self.allocatable = amounts(status.get("allocatable"))
        self.images = {
            name: int(image.get("sizeBytes") or 0)
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        }
        self.node_memo = {}
        self.memo = {}

    def add_pod(self, pod: PodInfo) -> None:
        """Count the pod in, in place of an older version of it."""
        self.remove_pod(pod.uid)
        self.pods[pod.uid] = pod
        if pod.is_choosy:
            self.choosy[pod.uid] = pod
            if pod.anti_affinity:
                self.repulsive[pod.uid] = pod
        add(self.requested, pod.requests)
        add(self.scoring, pod.scoring)
        self.memo = {}

    def renew_pod(self, pod: PodInfo) -> None:
        """Put a version of the pod in place of another that counts for the same."""
        for pods in (self.pods, self.choosy, self.repulsive):
            if pod.uid in pods:
                pods[pod.uid] = pod

    def remove_pod(self, uid: str) -> None:
        """Count the pod out, if it is there."""
        pod = self.pods.pop(uid, None)
        if pod is None:
            return
        self.choosy.pop(uid, None)
        self.repulsive.pop(uid, None)
        add(self.requested, {k: -v for k, v in pod.requests.items()})
        add(self.scoring, {k: -v for k, v in pod.scoring.items()})
        self.memo = {}

    def count(self, key: tuple[str, str], matches: Matches) -> int:
        """How many pods of a namespace are matched and not on their way out; `key` is namespace and selector's text."""
        found = self.memo.get(key)
        if found is None:
            space = key[0]
            found = sum(p.namespace == space and not p.deleting and matches(p.labels) for p in self.pods.values())
            self.remember(key, found)
        return found

    def remember(self, key: Any, value: int) -> int:
        """The value, which `memo` has from now on."""
        if len(self.memo) >= _MEMO:
            self.memo = {}
        self.memo[key] = value
        return value

    def asked(self, key: str, answer: Callable[[NodeInfo], bool]) -> bool:
        """What the node answers to a question about itself; `key` identifies the question."""
        found = self.node_memo.get(key)
        if found is None:
            if len(self.node_memo) >= _MEMO:
                self.node_memo = {}
            found = self.node_memo[key] = answer(self)
        return found

    def clone(self) -> NodeInfo:
        """A copy whose pods can be changed without touching this one."""
        other = copy(self)
        other.pods, other.choosy, other.repulsive = dict(self.pods), dict(self.choosy), dict(self.repulsive)
        other.requested, other.scoring, other.memo = dict(self.requested), dict(self.scoring), {}
        return other
