"""Claims and volumes as they will be once what was decided has been written: no volume is promised twice meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api.objects import Key, Object, annotations_of, key_of, name_of
from kumo.api.volume_claims import SELECTED_NODE, bound_volume, class_of
from kumo.kubernetes.scheduler.volumes import NodeVolumes
from kumo.kubernetes.scheduler.world import Volumes
from kumo.machinery.informer import Informer

_BY_CLASS = "storage-class"


class AssumedVolumes:
    """Informers of claims, volumes and storage classes, with what is being written laid over them."""

    def __init__(self, claims: Informer, volumes: Informer, classes: Informer) -> None:
        self._informers = (claims, volumes, classes)
        self._claims: dict[Key, Object] = {}
        self._volumes: dict[str, Object] = {}
        volumes.add_index(_BY_CLASS, lambda volume: [class_of(volume)])

    def view(self) -> Volumes:
        """What a decision looks at."""
        return Volumes(self.claim, self.volume, self._informers[2].get, self._of_class)

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
