"""VolumeRestrictions and VolumeZone: volumes that one pod at a time may use, and volumes that are bound to zones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kumo.api.objects import Object, labels_of
from kumo.api.volume_claims import class_of, volume_name
from kumo.kubernetes.scheduler.cluster_events import Action, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered

_DISK_CONFLICT = "node(s) had no available disk"
_IN_USE = (
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)
_NO_ZONE = "node(s) had no available volume zone"
_ZONE_LABELS = {
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_DISKS = ("gcePersistentDisk", "awsElasticBlockStore", "iscsi", "rbd")


@dataclass(slots=True)
class _Exclusive:
    """The claims that the pod must have for itself, and how often others that have a node use them."""

    claims: frozenset[str]
    uses: int = 0

    def clone(self) -> _Exclusive:
        """A copy for a trial."""
        return _Exclusive(self.claims, self.uses)


class VolumeRestrictions(Plugin):
    """Refuses nodes where a disk is attached already, and all nodes while another pod has a ReadWriteOncePod claim."""

    name = "VolumeRestrictions"
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Find the exclusive claims and who uses them."""
        pod = cycle.pod
        exclusive = set()
        for name in pod.claims:
            claim = cycle.world.volumes.claim(pod.namespace, name)
            if claim is None:
                return self.refuse(f'persistentvolumeclaim "{name}" not found', final=True)
            if "ReadWriteOncePod" in ((claim.get("spec") or {}).get("accessModes") or ()):
                exclusive.add(name)
        disks = any(v.get(k) for v in pod.spec.get("volumes") or () for k in _DISKS)
        if not exclusive and not disks:
            return SKIP
        state = _Exclusive(frozenset(exclusive))
        if exclusive:
            for info in cycle.world.cache.nodes.values():
                for other in info.pods.values():
                    state.uses += _uses(state, cycle.pod, other)
        cycle.states[self.name] = state
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node with a disk that conflicts, or every node for a claim that is in use."""
        volumes = cycle.pod.spec.get("volumes") or ()
        there = [v for other in info.pods.values() for v in other.spec.get("volumes") or ()]
        if any(_conflict(mine, theirs) for mine in volumes for theirs in there):
            return self.refuse(_DISK_CONFLICT)
        if cycle.states[self.name].uses > 0:
            return self.refuse(_IN_USE)
        return None

    def pod_added(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """Count its uses in."""
        self._count(cycle, other, 1)

    def pod_removed(self, cycle: Cycle, other: PodInfo, info: NodeInfo) -> None:
        """Count its uses out."""
        self._count(cycle, other, -1)

    def _count(self, cycle: Cycle, other: PodInfo, step: int) -> None:
        state: _Exclusive | None = cycle.states.get(self.name)
        if state is not None:
            state.uses += step * _uses(state, cycle.pod, other)

    def interests(self) -> Sequence[Interest]:
        """A pod that leaves, a new node, a claim that comes or changes."""
        return (
            Interest(Resource.POD, Action.DELETE),
            Interest(Resource.NODE, Action.ADD),
            Interest(Resource.CLAIM, Action.ADD | Action.UPDATE),
        )


def _uses(state: _Exclusive, pod: PodInfo, other: PodInfo) -> int:
    if other.uid == pod.uid or other.namespace != pod.namespace:
        return 0
    return sum(name in state.claims for name in other.claims)


def _conflict(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two volumes are one disk that only one pod may write to."""
    for kind in _DISKS:
        a, b = mine.get(kind), theirs.get(kind)
        if not a or not b:
            continue
        if kind == "awsElasticBlockStore":
            if a.get("volumeID") == b.get("volumeID"):
                return True
        elif _same_disk(kind, a, b) and not (a.get("readOnly") and b.get("readOnly")):
            return True
    return False


def _same_disk(kind: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if kind == "gcePersistentDisk":
        return bool(a.get("pdName") == b.get("pdName"))
    if kind == "iscsi":
        return bool(a.get("iqn") == b.get("iqn"))
    monitors = set(a.get("monitors") or ()) & set(b.get("monitors") or ())
    return bool(monitors) and (a.get("pool") or "rbd", a.get("image")) == (b.get("pool") or "rbd", b.get("image"))


class VolumeZone(Plugin):
    """Refuses nodes outside the zones that the labels of the pod's bound volumes name."""

    name = "VolumeZone"
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Collect the zones of the pod's volumes."""
        zones: list[tuple[str, frozenset[str]]] = []
        for name in cycle.pod.claims:
            claim = cycle.world.volumes.claim(cycle.pod.namespace, name)
            if claim is None:
                return self.refuse(f'persistentvolumeclaim "{name}" not found', final=True)
            found = self._zones(cycle, claim)
            if isinstance(found, Refusal):
                return found
            zones += found
        if not zones:
            return SKIP
        cycle.states[self.name] = zones
        return None

    def _zones(self, cycle: Cycle, claim: Object) -> list[tuple[str, frozenset[str]]] | Refusal:
        bound = volume_name(claim)
        if not bound:
            named = class_of(claim)
            if not named:
                return self.refuse("PersistentVolumeClaim had no pv name and storageClass name", final=True)
            found = cycle.world.volumes.storage_class(named)
            if found is None:
                return self.refuse(f'storageclass.storage.k8s.io "{named}" not found', final=True)
            if found.get("volumeBindingMode") == "WaitForFirstConsumer":
                return []
            return self.refuse("PersistentVolume had no name", final=True)
        volume = cycle.world.volumes.volume(bound)
        if volume is None:
            return self.refuse(f'persistentvolume "{bound}" not found', final=True)
        return list(_topologies(volume))

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node in another zone; nodes without any zone label are taken as they are."""
        if not any(label in info.labels for label in _ZONE_LABELS):
            return None
        for label, values in cycle.states[self.name]:
            value = info.labels.get(label, info.labels.get(_ZONE_LABELS[label]))
            if value is None or value not in values:
                return self.refuse(_NO_ZONE, final=True)
        return None

    def interests(self) -> Sequence[Interest]:
        """Changes of what names the zones."""
        return (
            Interest(Resource.STORAGE_CLASS, Action.ADD),
            Interest(Resource.NODE, Action.ADD | Action.NODE_LABEL),
            Interest(Resource.CLAIM, Action.ADD | Action.UPDATE),
            Interest(Resource.VOLUME, Action.ADD | Action.UPDATE),
        )


def _topologies(volume: Object) -> Iterable[tuple[str, frozenset[str]]]:
    for label, value in labels_of(volume).items():
        if label in _ZONE_LABELS:
            yield label, frozenset(v.strip() for v in value.split("__"))
