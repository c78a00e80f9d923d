"""StorageObjectInUseProtection and PersistentVolumeClaimResize."""

from __future__ import annotations

from fractions import Fraction

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.api.quota.usage import storage_class_of
from kumo.kubernetes.apiserver.admission.default_classes import STORAGECLASSES
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

FINALIZERS = {
    "persistentvolumes": "kubernetes.io/pv-protection",
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "volumeattributesclasses": "kubernetes.io/vac-protection",
}
"""What keeps a storage object that is in use, by its resource; controllers take it away."""


def protect(attrs: AdmissionAttributes) -> None:
    """Give a new storage object the finalizer that keeps it while it is in use."""
    finalizer = FINALIZERS[attrs.gvr.resource]
    if attrs.object is not None:
        present = attrs.object["metadata"].get("finalizers") or []
        if finalizer not in present:
            attrs.object["metadata"]["finalizers"] = [*present, finalizer]


class ClaimResize:
    """A claim grows only when it is bound and its storage class allows it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a claim that may not grow."""
        new, old = attrs.object or {}, attrs.old_object or {}
        if _size(new) <= _size(old):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise refused(attrs, "Only bound persistent volume claims can be expanded")
        chosen = storage_class_of(new)
        found = self._reader.get(STORAGECLASSES, chosen) if chosen and chosen == storage_class_of(old) else None
        if not (found or {}).get("allowVolumeExpansion"):
            why = "the storageclass that provisions the pvc must support resize"
            raise refused(attrs, f"only dynamically provisioned pvc can be resized and {why}")


def _size(claim: Object) -> Fraction:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return quantities.parse(requests["storage"]) if "storage" in requests else Fraction(0)
