"""The shells of the three protection controllers."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, is_deleting, name_of, namespace_of
from kumo.api.quota.scopes import attributes_classes
from kumo.api.resources import GVR, PODS, core
from kumo.kubernetes.controller_manager.volume_protection.usage import claims_of, class_used, pod_uses, volume_used
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

CLAIMS = core("persistentvolumeclaims")
VOLUMES = core("persistentvolumes", False)
CLASSES = GVR("storage.k8s.io", "v1", "volumeattributesclasses", False)
_CLAIM = "volume-protection/claim"


class _Protection:
    """Takes the finalizer from what is deleted and not in use, and gives it to what has none."""

    name = ""
    finalizer = ""

    def __init__(self, client: Client, informers: Informers, gvr: GVR) -> None:
        self._client = client
        self._gvr = gvr
        self._objects = informers.informer(gvr)
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._objects)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _is_used(self, obj: Object) -> bool:
        raise NotImplementedError

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._objects.get_key(key)
        if obj is None:
            return None
        finalizers = list(obj["metadata"].get("finalizers") or ())
        present = self.finalizer in finalizers
        if is_deleting(obj):
            if not present or await self._is_used(obj):
                return None
            finalizers.remove(self.finalizer)
        elif present:
            return None
        else:
            finalizers.append(self.finalizer)
        wanted = deepcopy(obj)
        wanted["metadata"]["finalizers"] = finalizers
        try:
            await self._client.update(self._gvr, wanted)
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None


class ClaimProtectionController(_Protection):
    """Keeps PersistentVolumeClaims that a scheduled pod uses."""

    name = "pvc-protection-controller"
    finalizer = "kubernetes.io/pvc-protection"

    def __init__(self, client: Client, informers: Informers) -> None:
        super().__init__(client, informers, CLAIMS)
        self._pods = informers.informer(PODS)
        self._pods.add_index(_CLAIM, _claim_keys)
        self._controller.watch(self._pods, lambda pod: [Key(namespace_of(pod), name) for name in claims_of(pod)])

    async def _is_used(self, obj: Object) -> bool:
        """By the informer first; to be sure that a claim is unused the pods are listed anew."""
        indexed = self._pods.by_index(_CLAIM, f"{namespace_of(obj)}/{name_of(obj)}")
        if any(pod_uses(pod, obj) for pod in indexed):
            return True
        listed = await self._client.list(PODS, namespace_of(obj))
        return any(pod_uses(pod, obj) for pod in listed.items)


def _claim_keys(pod: Object) -> Iterable[str]:
    return [f"{namespace_of(pod)}/{name}" for name in claims_of(pod)]


class VolumeProtectionController(_Protection):
    """Keeps PersistentVolumes that are bound."""

    name = "pv-protection-controller"
    finalizer = "kubernetes.io/pv-protection"

    def __init__(self, client: Client, informers: Informers) -> None:
        super().__init__(client, informers, VOLUMES)

    async def _is_used(self, obj: Object) -> bool:
        return volume_used(obj)


class AttributesClassProtectionController(_Protection):
    """Keeps VolumeAttributesClasses that a claim or a volume names."""

    name = "volumeattributesclass-protection-controller"
    finalizer = "kubernetes.io/vac-protection"

    def __init__(self, client: Client, informers: Informers) -> None:
        super().__init__(client, informers, CLASSES)
        self._claims, self._volumes = informers.informer(CLAIMS), informers.informer(VOLUMES)
        self._controller.watch(self._claims, lambda claim: [Key("", name) for name in attributes_classes(claim)])
        self._controller.watch(self._volumes, _class_of_volume)

    async def _is_used(self, obj: Object) -> bool:
        return class_used(name_of(obj), self._claims.objects(), self._volumes.objects())


def _class_of_volume(volume: Object) -> Iterable[Key]:
    name = (volume.get("spec") or {}).get("volumeAttributesClassName")
    return [Key("", name)] if name else []
