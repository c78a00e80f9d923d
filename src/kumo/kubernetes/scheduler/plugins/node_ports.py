"""NodePorts: host ports that pods take."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.api.objects import Object, uid_of
from kumo.api.pod_requests import host_ports, ports_conflict
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered


class NodePorts(Plugin):
    """Refuses nodes on which a host port of the pod is taken."""

    name = "NodePorts"
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Nothing to do for pods without host ports."""
        return None if cycle.pod.ports else SKIP

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node where a port is taken."""
        if not ports_conflict(cycle.pod.ports, (p for other in info.pods.values() for p in other.ports)):
            return None
        return self.refuse("node(s) didn't have free ports for the requested pod ports")

    def interests(self) -> Sequence[Interest]:
        """A pod that gives up a port, or a new node."""
        return (
            Interest(Resource.POD, Action.DELETE, _pod_hint),
            Interest(Resource.NODE, Action.ADD),
        )


def _pod_hint(pod: Object, event: Happening) -> bool:
    gone = event.old or {}
    if not (gone.get("spec") or {}).get("nodeName"):
        return False
    return uid_of(gone) != uid_of(pod) and ports_conflict(host_ports(pod), host_ports(gone))
