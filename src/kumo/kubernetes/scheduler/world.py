"""What a decision may look at: nodes, the labels of namespaces, and volumes; all of it held in memory by informers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kumo.api.objects import Object
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo


def _nothing(*_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Volumes:
    """Look-ups of claims (namespace, name), volumes (name or class) and storage classes (name)."""

    claim: Callable[[str, str], Object | None] = _nothing
    volume: Callable[[str], Object | None] = _nothing
    storage_class: Callable[[str], Object | None] = _nothing
    of_class: Callable[[str], Iterable[Object]] = field(default=lambda _: ())


@dataclass(frozen=True, slots=True)
class World:
    """A moment of the cluster. `nominated` are pods that wait for room on a node that preemption made for them."""

    nodes: Mapping[str, NodeInfo]
    namespace_labels: Callable[[str], Mapping[str, str]] = field(default=lambda _: {})
    volumes: Volumes = field(default_factory=Volumes)
    nominated: Mapping[str, tuple[str, PodInfo]] = field(default_factory=dict)

    def candidates(self) -> list[NodeInfo]:
        """The nodes that exist."""
        return [n for n in self.nodes.values() if n.node]

    def with_nominated(self, pod: PodInfo, info: NodeInfo) -> NodeInfo:
        """The node with the pods that room was made for there, unless `pod` is more important than they are."""
        waiting = self._waiting(pod, info.name)
        if not waiting:
            return info
        fuller = info.clone()
        for other in waiting:
            fuller.add_pod(other)
        return fuller

    def _waiting(self, pod: PodInfo, node: str) -> list[PodInfo]:
        nominated: Iterable[tuple[str, PodInfo]] = self.nominated.values()
        return [p for name, p in nominated if name == node and p.priority >= pod.priority and p.uid != pod.uid]
