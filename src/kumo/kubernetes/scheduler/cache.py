"""All nodes with their pods, those included that are assumed there while their binding is being written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from kumo.api.objects import Object, name_of, uid_of
from kumo.kubernetes.scheduler.nodes import TERMINAL_PHASES, NodeInfo, PodInfo
from kumo.kubernetes.scheduler.tallies import Tallies


class Cache:
    """`nodes` by name, also those of which only pods are known; `choosy` and `repulsive` name nodes of such pods."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.nominated: dict[str, tuple[str, PodInfo]] = {}
        """Pods that wait for room on a node, by uid."""
        self.choosy: set[str] = set()
        self.repulsive: set[str] = set()
        self.unschedulable: set[str] = set()
        self.tainted: set[str] = set()
        self.softly_tainted: set[str] = set()
        self.image_nodes: Counter[str] = Counter()
        """How many nodes have an image, by its name."""
        self.image_sizes: dict[str, int] = {}
        """The bytes of an image, as the first node says that has it."""
        self.tallies = Tallies()
        self._where: dict[str, str] = {}
        self._assumed: set[str] = set()
        self._order: list[NodeInfo] | None = None

    def candidates(self) -> list[NodeInfo]:
        """The nodes that exist; those of different zones take turns (do not change the list)."""
        if self._order is None:
            zones: dict[str, list[NodeInfo]] = {}
            for info in self.nodes.values():
                if info.node:
                    zones.setdefault(info.zone, []).append(info)
            self._order = list(_taking_turns(zones.values()))
        return self._order

    def placed(self) -> Iterator[tuple[PodInfo, NodeInfo]]:
        """Every pod on a node that exists."""
        return ((pod, info) for info in self.candidates() for pod in info.pods.values())

    def named(self, names: Iterable[str]) -> Iterator[NodeInfo]:
        """The nodes of these names."""
        return (self.nodes[name] for name in names)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def set_node(self, node: Object) -> None:
        """A node was added or changed."""
        info = self._info(name_of(node))
        zone = info.zone if info.node else None
        before, labels = info.images, info.labels
        info.set_node(node)
        if info.pods and info.labels != labels:
            self.tallies.forget()
        self._count_images(before, info.images)
        if zone != info.zone:
            self._order = None
        _keep(self.unschedulable, info.name, info.unschedulable)
        _keep(self.tainted, info.name, bool(info.hard_taints))
        _keep(self.softly_tainted, info.name, bool(info.soft_taints))

    def remove_node(self, name: str) -> None:
        """A node is gone; its pods are kept until they go too."""
        info = self.nodes.get(name)
        if info is None:
            return
        self._count_images(info.images, {})
        info.set_node({})
        info.node = {}
        if info.pods:
            self.tallies.forget()
        for names in (self.unschedulable, self.tainted, self.softly_tainted):
            names.discard(name)
        self._order = None
        self._drop_empty(name)

    def _count_images(self, before: dict[str, int], after: dict[str, int]) -> None:
        if before == after:
            return
        self.image_nodes.update(after.keys())
        for name, size in after.items():
            self.image_sizes.setdefault(name, size)
        for name in before:
            self.image_nodes[name] -= 1
            if not self.image_nodes[name]:
                del self.image_nodes[name], self.image_sizes[name]

    # -- pods -------------------------------------------------------------------------------------------------------

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
            self._place_or_renew(pod, uid, node)
        elif not ended:
            self._nominate(pod)

    def remove_pod(self, uid: str) -> None:
        """A pod is gone."""
        self.nominated.pop(uid, None)
        self._remove(uid)

    def assume(self, pod: PodInfo, node: str) -> None:
        """Count the pod on the node before the API server says so."""
        self._assumed.add(pod.uid)
        self.nominated.pop(pod.uid, None)
        self._place(pod, node)

    def forget(self, uid: str) -> None:
        """The binding of an assumed pod failed."""
        if uid in self._assumed:
            self._remove(uid)

    def sizes(self) -> dict[str, int]:
        """How many nodes and pods are known, and of these how many are assumed."""
        return {"nodes": len(self.nodes), "pods": len(self._where), "assumed_pods": len(self._assumed)}

    def is_placed(self, uid: str) -> bool:
        """Whether the pod is on a node, or assumed to be."""
        return uid in self._where

    def _nominate(self, pod: Object) -> None:
        """Remember where the pod waits for room, as its status says."""
        node, uid = (pod.get("status") or {}).get("nominatedNodeName") or "", uid_of(pod)
        if node:
            self.nominated[uid] = (node, PodInfo.of(pod))
        elif uid in self.nominated:
            self.nominated.pop(uid)

    def _place_or_renew(self, pod: Object, uid: str, node: str) -> None:
        known = self.nodes[node].pods.get(uid) if node in self.nodes else None
        renewed = known.renewed(pod) if known is not None else None
        if renewed is not None:
            self.nodes[node].renew_pod(renewed)
        else:
            self._place(PodInfo.of(pod), node)

    def _place(self, pod: PodInfo, node: str) -> None:
        self._where[pod.uid] = node
        info = self._info(node)
        known = info.pods.get(pod.uid)
        if known is not None:
            self.tallies.remove(known, info)
        info.add_pod(pod)
        self.tallies.add(pod, info)
        self._note(info)

    def _info(self, name: str) -> NodeInfo:
        if name not in self.nodes:
            self.nodes[name] = NodeInfo(name)
        return self.nodes[name]

    def _note(self, info: NodeInfo) -> None:
        _keep(self.choosy, info.name, bool(info.choosy))
        _keep(self.repulsive, info.name, bool(info.repulsive))

    def _remove(self, uid: str) -> None:
        self._assumed.discard(uid)
        name = self._where.pop(uid, None)
        if name is not None:
            info = self.nodes[name]
            known = info.pods.get(uid)
            if known is not None:
                self.tallies.remove(known, info)
            info.remove_pod(uid)
            self._note(info)
            self._drop_empty(name)

    def _drop_empty(self, name: str) -> None:
        info = self.nodes[name]
        if not info.node and not info.pods:
            del self.nodes[name]
            self.choosy.discard(name)
            self.repulsive.discard(name)


def _keep(names: set[str], name: str, there: bool) -> None:
    (names.add if there else names.discard)(name)


def _taking_turns(zones: Iterable[list[NodeInfo]]) -> Iterable[NodeInfo]:
    left = [iter(zone) for zone in zones]
    while left:
        alive = []
        for zone in left:
            info = next(zone, None)
            if info is not None:
                yield info
                alive.append(zone)
        left = alive
