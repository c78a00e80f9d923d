"""Claims and volumes as they will be once what was decided has been written: no volume is promised twice meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api.objects import Key, Object, annotations_of, key_of, name_of
from kumo.api.resources import GVR, core
from kumo.api.volume_claims import SELECTED_NODE, bound_volume, class_of
from kumo.kubernetes.scheduler.cluster_events import Resource
from kumo.kubernetes.scheduler.volumes import NodeVolumes
from kumo.kubernetes.scheduler.world import Volumes
from kumo.machinery.informer import Informer, Informers

_STORAGE = ("storage.k8s.io", "v1")
CLAIMS = core("persistentvolumeclaims")
VOLUMES = core("persistentvolumes", False)
STORAGE_CLASSES = GVR(*_STORAGE, "storageclasses", False)
CSI_NODES = GVR(*_STORAGE, "csinodes", False)
CSI_DRIVERS = GVR(*_STORAGE, "csidrivers", False)
CAPACITIES = GVR(*_STORAGE, "csistoragecapacities")
ATTACHMENTS = GVR(*_STORAGE, "volumeattachments", False)
_BY_CLASS, _BY_NODE = "storage-class", "node"


class AssumedVolumes:
    """Informers of claims, volumes and storage classes, with what is being written laid over them."""

    def __init__(self, informers: Informers) -> None:
        claims, volumes, classes = (informers.informer(g) for g in (CLAIMS, VOLUMES, STORAGE_CLASSES))
        self._informers = (claims, volumes, classes)
        self._nodes, self._drivers = informers.informer(CSI_NODES), informers.informer(CSI_DRIVERS)
        self._capacities = informers.informer(CAPACITIES)
        self._attachments = informers.informer(ATTACHMENTS)
        self._claims: dict[Key, Object] = {}
        self._volumes: dict[str, Object] = {}
        volumes.add_index(_BY_CLASS, lambda volume: [class_of(volume)])
        self._attachments.add_index(_BY_NODE, lambda found: [(found.get("spec") or {}).get("nodeName") or ""])

    def informers(self) -> list[tuple[Resource, Informer]]:
        """What is watched, and as which resource its changes count."""
        claims, volumes, classes = self._informers
        return [
            (Resource.CLAIM, claims),
            (Resource.VOLUME, volumes),
            (Resource.STORAGE_CLASS, classes),
            (Resource.CSI_NODE, self._nodes),
            (Resource.CSI_DRIVER, self._drivers),
            (Resource.CAPACITY, self._capacities),
            (Resource.ATTACHMENT, self._attachments),
        ]

    def view(self) -> Volumes:
        """What a decision looks at."""
        return Volumes(
            self.claim,
            self.volume,
            self._informers[2].get,
            self._of_class,
            self._nodes.get,
            self._drivers.get,
            self._capacities.objects,
            lambda node: self._attachments.by_index(_BY_NODE, node),
        )

    def claim(self, namespace: str, name: str) -> Object | None:
        """A claim, or None."""
        return self._claims.get(Key(namespace, name)) or self._informers[0].get(name, namespace)

    def volume(self, name: str) -> Object | None:
        """A volume, or None."""
        return self._volumes.get(name) or self._informers[1].get(name)

    def _of_class(self, name: str) -> Iterable[Object]:
        return [self._volumes.get(name_of(v), v) for v in self._informers[1].by_index(_BY_CLASS, name)]

    def assume(self, chosen: NodeVolumes, node: str) -> None:
        """Count the volumes as bound and the claims as handed to their provisioners."""
        for volume, claim in chosen.bindings:
            self._volumes[name_of(volume)] = bound_volume(volume, claim)
        for claim in chosen.provisions:
            self._claims[key_of(claim)] = selected(claim, node)

    def forget(self, chosen: NodeVolumes) -> None:
        """It is written, or won't be: what the informers say holds again."""
        for volume, _ in chosen.bindings:
            self._volumes.pop(name_of(volume), None)
        for claim in chosen.provisions:
            self._claims.pop(key_of(claim), None)


def selected(claim: Object, node: str) -> Object:
    """The claim with the annotation that tells its provisioner for which node its volume is."""
    return {**claim, "metadata": {**claim["metadata"], "annotations": annotations_of(claim) | {SELECTED_NODE: node}}}
