"""What a plugin of the scheduling framework is: a judge of nodes with a name that configurations know. Pure.

Upstream's extension points, as far as they decide anything: PreFilter and Filter, PreScore and Score (with its
normalization), and the events of EnqueueExtensions. All of a plugin's methods run on the event loop and never wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from kumo.kubernetes.scheduler.cluster_events import Interest
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo

MAX_SCORE: Final = 100


class Skip:
    """The plugin has nothing to say about the pod: its filter is not asked."""


SKIP: Final = Skip()
Prefiltered = Skip | Refusal | frozenset[str] | None
"""Nothing to say, no node will do, only the nodes of these names, or: ask for each node."""


class Plugin:
    """A plugin that neither refuses nor prefers anything; each overrides what it has a say in."""

    name: ClassVar[str]
    filters: ClassVar[bool] = False
    scores: ClassVar[bool] = False

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Look at the pod once for all nodes. Raises CycleError."""
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """What speaks against the node. Raises CycleError."""
        return None

    def pod_added(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """A trial puts another pod onto the node."""

    def pod_removed(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """A trial takes another pod off the node."""

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int] | None:
        """How good each node is, 0 to 100; None if the plugin does not care."""
        return None

    def interests(self) -> Sequence[Interest]:
        """After which events a pod that this plugin refused is worth another try."""
        return ()

    def refuse(self, *reasons: str, final: bool = False) -> Refusal:
        """A refusal in this plugin's name."""
        return Refusal(reasons, self.name, final)


def normalized(raw: Sequence[int], *, reverse: bool = False) -> list[int]:
    """Scaled so that the largest becomes 100 (0 if reversed); all zero stays zero (100 if reversed)."""
    top = max(raw, default=0)
    if top == 0:
        return [MAX_SCORE if reverse else 0] * len(raw)
    if reverse:
        return [MAX_SCORE - MAX_SCORE * r // top for r in raw]
    return [MAX_SCORE * r // top for r in raw]
