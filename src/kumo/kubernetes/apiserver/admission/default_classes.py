"""DefaultStorageClass and DefaultIngressClass: what names no class gets the default one."""

from __future__ import annotations

from kumo.api.objects import Object, annotations_of, name_of
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

STORAGECLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)
INGRESSCLASSES = GVR("networking.k8s.io", "v1", "ingressclasses", False)
_STORAGE_DEFAULTS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_INGRESS_DEFAULTS = ("ingressclass.kubernetes.io/is-default-class",)


class DefaultClass:
    """Fills a field of a new object with the name of the newest class that is marked as default.

    Of several made in the same second the first by name. An object with `field`, or with `annotation`, keeps it.
    """

    def __init__(self, reader: Reader, classes: GVR, field: str, annotation: str, marks: tuple[str, ...]) -> None:
        self._reader = reader
        self._classes = classes
        self._field = field
        self._annotation = annotation
        self._marks = marks

    def mutate(self, attrs: AdmissionAttributes) -> None:
        """Choose the class; without a default one the object stays as it is."""
        if attrs.object is None:
            return
        spec = attrs.object.setdefault("spec", {})
        if spec.get(self._field) is not None or self._annotation in annotations_of(attrs.object):
            return
        defaults = [found for found in self._reader.objects(self._classes) if self._is_default(found)]
        if defaults:
            defaults.sort(key=name_of)
            newest = max(defaults, key=lambda found: found["metadata"].get("creationTimestamp") or "")
            spec[self._field] = name_of(newest)

    def _is_default(self, found: Object) -> bool:
        annotations = annotations_of(found)
        return any(annotations.get(mark) == "true" for mark in self._marks)


def default_storage_class(reader: Reader) -> DefaultClass:
    """For PersistentVolumeClaims."""
    old = "volume.beta.kubernetes.io/storage-class"
    return DefaultClass(reader, STORAGECLASSES, "storageClassName", old, _STORAGE_DEFAULTS)


def default_ingress_class(reader: Reader) -> DefaultClass:
    """For Ingresses."""
    old = "kubernetes.io/ingress.class"
    return DefaultClass(reader, INGRESSCLASSES, "ingressClassName", old, _INGRESS_DEFAULTS)
