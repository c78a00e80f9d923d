"""DefaultStorageClass: a claim that names no class gets the default one."""

from __future__ import annotations

from kumo.api.objects import annotations_of, name_of
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

STORAGECLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)
DEFAULT = "storageclass.kubernetes.io/is-default-class"
_OLD_DEFAULT = "storageclass.beta.kubernetes.io/is-default-class"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


class DefaultStorageClass:
    """Fills `spec.storageClassName` of a new PersistentVolumeClaim."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def mutate(self, attrs: AdmissionAttributes) -> None:
        """Choose the newest default class; without one the claim stays as it is."""
        claim = attrs.object
        if attrs.operation != "CREATE" or attrs.subresource or claim is None:
            return
        spec = claim.setdefault("spec", {})
        if spec.get("storageClassName") is not None or _OLD_CLASS in annotations_of(claim):
            return
        defaults = [
            c
            for c in self._reader.objects(STORAGECLASSES)
            if "true" in (annotations_of(c).get(DEFAULT), annotations_of(c).get(_OLD_DEFAULT))
        ]
        if defaults:
            # Of several the newest, and of those made in the same second the first by name (as upstream).
            defaults.sort(key=name_of)
            newest = max(defaults, key=lambda c: c["metadata"].get("creationTimestamp") or "")
            spec["storageClassName"] = name_of(newest)
