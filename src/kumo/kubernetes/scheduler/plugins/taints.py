"""TaintToleration and NodeUnschedulable: nodes that keep pods away."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.api.objects import Object, uid_of
from kumo.api.tolerations import Taint, tolerated, tolerates
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered, normalized

_UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_HARD = ("NoSchedule", "NoExecute")


def hard_taints(node: Object) -> list[Taint]:
    """The taints that keep pods away."""
    return [t for t in (node.get("spec") or {}).get("taints") or () if t.get("effect") in _HARD]


class TaintToleration(Plugin):
    """Refuses nodes with taints that the pod does not tolerate, and prefers those with fewer soft ones."""

    name = "TaintToleration"
    filters = scores = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Nothing to do where no node has such a taint."""
        return None if cycle.world.cache.tainted else SKIP

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node with an untolerated taint."""
        if not info.hard_taints or tolerated(info.hard_taints, cycle.pod.tolerations):
            return None
        return self.refuse("node(s) had untolerated taint(s)", final=True)

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
        """Fewer PreferNoSchedule taints that the pod does not tolerate."""
        if not cycle.world.cache.softly_tainted:
            return [100] * len(nodes)
        held = [t for t in cycle.pod.tolerations if (t.get("effect") or "PreferNoSchedule") == "PreferNoSchedule"]
        raw = [sum(not any(tolerates(h, t) for h in held) for t in info.soft_taints) for info in nodes]
        return normalized(raw, reverse=True)

    def interests(self) -> Sequence[Interest]:
        """A node whose taints the pod tolerates now, or a new toleration."""
        return (
            Interest(Resource.NODE, Action.ADD | Action.NODE_TAINT, _node_hint),
            Interest(Resource.POD, Action.POD_TOLERATION, is_itself),
        )


def _node_hint(pod: Object, event: Happening) -> bool:
    held = (pod.get("spec") or {}).get("tolerations") or []
    kept_away = event.old is None or not tolerated(hard_taints(event.old), held)
    return kept_away and tolerated(hard_taints(event.new or {}), held)


def is_itself(pod: Object, event: Happening) -> bool:
    """Whether the event is about the waiting pod."""
    return uid_of(event.new or {}) == uid_of(pod)


class NodeUnschedulable(Plugin):
    """Refuses cordoned nodes, unless the pod tolerates the taint that stands for it."""

    name = "NodeUnschedulable"
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Nothing to do where no node is cordoned."""
        return None if cycle.world.cache.unschedulable else SKIP

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a cordoned node."""
        if not info.unschedulable or tolerated((_UNSCHEDULABLE,), cycle.pod.tolerations):
            return None
        return self.refuse("node(s) were unschedulable", final=True)

    def interests(self) -> Sequence[Interest]:
        """A node that is not cordoned (any more), or a new toleration."""
        return (
            Interest(
                Resource.NODE,
                Action.ADD | Action.NODE_TAINT,
                lambda pod, event: not ((event.new or {}).get("spec") or {}).get("unschedulable"),
            ),
            Interest(Resource.POD, Action.POD_TOLERATION, is_itself),
        )
