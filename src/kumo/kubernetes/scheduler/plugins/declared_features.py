"""NodeDeclaredFeatures: what a pod needs of its kubelet, and what nodes say they can (`status.declaredFeatures`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kumo.api.objects import Object
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered

RESTART_ALL = "RestartAllContainersOnContainerExits"
HOST_NETWORK_USERS = "UserNamespacesHostNetworkSupport"


def needed_features(spec: Mapping[str, Any]) -> frozenset[str]:
    """The features that a pod spec needs of its node."""
    found = set()
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    if any(r.get("action") == "RestartAllContainers" for c in containers for r in c.get("restartPolicyRules") or ()):
        found.add(RESTART_ALL)
    if spec.get("hostNetwork") and spec.get("hostUsers") is False:
        found.add(HOST_NETWORK_USERS)
    return frozenset(found)


class NodeDeclaredFeatures(Plugin):
    """Refuses nodes that do not declare what the pod needs."""

    name = "NodeDeclaredFeatures"
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Nothing to do for pods that need nothing."""
        wanted = needed_features(cycle.pod.spec)
        if not wanted:
            return SKIP
        cycle.states[self.name] = wanted
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node that lacks one."""
        if cycle.states[self.name] <= _declared(info.node):
            return None
        return self.refuse("node(s) didn't match Pod's required features", final=True)

    def interests(self) -> Sequence[Interest]:
        """A node that comes or declares something else."""
        return (Interest(Resource.NODE, Action.ADD | Action.NODE_FEATURE, _hint),)


def _declared(node: Object | None) -> frozenset[str]:
    return frozenset(((node or {}).get("status") or {}).get("declaredFeatures") or ())


def _hint(pod: Object, event: Happening) -> bool:
    return needed_features(pod.get("spec") or {}) <= _declared(event.new)
