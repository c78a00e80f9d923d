"""VolumeBinding: claims must be bound to what is reachable on the node, or be bound when the pod goes there."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.kubernetes.scheduler.cluster_events import Action, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered
from kumo.kubernetes.scheduler.volumes import NodeVolumes, PodVolumes, claims_of, on, pod_volumes


class VolumeBinding(Plugin):
    """Refuses nodes where the pod's claims can't be had. `chosen` says what is bound on the node that was taken."""

    name = "VolumeBinding"
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Sort the pod's claims."""
        if not any(True for _ in claims_of(cycle.pod)):
            return SKIP
        found = pod_volumes(cycle.pod, cycle.world.volumes)
        if found.trouble:
            return self.refuse(found.trouble, final=True)
        cycle.states[self.name] = found
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node where a volume can't be used or none can be had."""
        reasons = on(cycle.states[self.name], info).reasons
        return self.refuse(*reasons, final=True) if reasons else None

    def interests(self) -> Sequence[Interest]:
        """Changes of everything that a claim's binding depends on."""
        any_change = Action.ADD | Action.UPDATE
        return (
            Interest(Resource.STORAGE_CLASS, any_change),
            Interest(Resource.CLAIM, any_change),
            Interest(Resource.VOLUME, any_change),
            Interest(Resource.NODE, Action.ADD | Action.NODE_LABEL),
            Interest(Resource.CSI_NODE, any_change),
            Interest(Resource.CSI_DRIVER, any_change | Action.DELETE),
            Interest(Resource.CAPACITY, any_change),
        )


def chosen(cycle: Cycle, info: NodeInfo) -> NodeVolumes:
    """What has to be bound before the pod can be bound to the node."""
    found: PodVolumes | None = cycle.states.get(VolumeBinding.name)
    return on(found, info) if found is not None else NodeVolumes()
