"""Counts over all pods of the cluster that decisions ask for again and again, kept up as pods come and go. Pure.

The pods of a workload are alike, so that what was counted for one holds for the next but for the pod that was placed
in between: without this each decision would look at every pod there is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Protocol, TypeVar

from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo

MOST = 32
"""So many are kept: each costs a little whenever a pod is placed."""


class Tally(Protocol):
    """A count to which each pod on a node adds something that depends on the two alone."""

    def count(self, other: PodInfo, info: NodeInfo, step: int) -> None:
        """Count a pod on a node in (`step` 1) or out (-1)."""
        ...


T = TypeVar("T", bound=Tally)


class Tallies:
    """The tallies that were asked for last, by what they are of."""

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, Tally] = OrderedDict()
        self._spacious: set[str] = set()

    @property
    def usable(self) -> bool:
        """Whether tallies tell all: no pod has terms that choose namespaces by labels, which may change at any time."""
        return not self._spacious

    def of(self, key: Hashable, empty: T, pods: Iterable[tuple[PodInfo, NodeInfo]]) -> T:
        """The tally `key`; if there is none, `empty` with all these pods counted in. It goes on changing."""
        found = self._made.get(key)
        if found is not None:
            self._made.move_to_end(key)
            return found  # type: ignore[return-value]  # the key says which kind it is
        for other, info in pods:
            empty.count(other, info, 1)
        self._made[key] = empty
        if len(self._made) > MOST:
            self._made.popitem(last=False)
        return empty

    def add(self, pod: PodInfo, info: NodeInfo) -> None:
        """A pod has come to the node."""
        if chooses_spaces(pod):
            self._spacious.add(pod.uid)
            self._made.clear()
        for tally in self._made.values():
            tally.count(pod, info, 1)

    def remove(self, pod: PodInfo, info: NodeInfo) -> None:
        """A pod leaves the node."""
        self._spacious.discard(pod.uid)
        for tally in self._made.values():
            tally.count(pod, info, -1)

    def forget(self) -> None:
        """A node with pods has other labels: all is counted anew."""
        self._made.clear()


def chooses_spaces(pod: PodInfo) -> bool:
    """Whether a term of the pod chooses namespaces by their labels."""
    return pod.is_choosy and any(
        term.namespace_selector is not None
        for terms in (pod.affinity, pod.anti_affinity, pod.preferred_affinity, pod.preferred_anti_affinity)
        for term in terms
    )
