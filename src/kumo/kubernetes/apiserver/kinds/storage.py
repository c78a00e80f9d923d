"""Volumes, storage classes, CSI drivers and attachments."""

from __future__ import annotations

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, needed, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import Rules


def _default_class(obj: Object) -> None:
    set_default(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _validate_class(obj: Object) -> list[Cause]:
    found = needed(obj, "", "provisioner")
    if obj.get("provisioner"):
        found += fields.each("provisioner", obj["provisioner"], names.check_qualified_name(obj["provisioner"].lower()))
    found += choice("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    return found + choice("volumeBindingMode", obj.get("volumeBindingMode"), ("Immediate", "WaitForFirstConsumer"))


def _validate_class_update(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    for key in ("parameters", "provisioner", "reclaimPolicy"):
        if (new.get(key) or None) != (old.get(key) or None):
            found.append(fields.forbidden(key, f"updates to {key} are forbidden."))
    if new.get("volumeBindingMode") != old.get("volumeBindingMode"):
        found.append(fields.immutable("volumeBindingMode", new.get("volumeBindingMode")))
    return found


def _default_driver(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(
        spec,
        attachRequired=True,
        podInfoOnMount=False,
        storageCapacity=False,
        fsGroupPolicy="ReadWriteOnceWithFSType",
        requiresRepublish=False,
        seLinuxMount=False,
    )
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def _validate_attributes(obj: Object) -> list[Cause]:
    return needed(obj, "", "driverName")


def _validate_attributes_update(new: Object, old: Object) -> list[Cause]:
    found = []
    for key in ("driverName", "parameters"):
        if (new.get(key) or None) != (old.get(key) or None):
            found.append(fields.forbidden(key, f"updates to {key} are forbidden."))
    return found


def _validate_attachment(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = needed(spec, "spec", "attacher", "nodeName")
    source = spec.get("source") or {}
    if not source.get("persistentVolumeName") and source.get("inlineVolumeSpec") is None:
        found.append(
            fields.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        )
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def storage(kind: str) -> GVK:
        return GVK("storage.k8s.io", "v1", kind)

    return {
        storage("StorageClass"): Rules(
            default=_default_class, validate=_validate_class, validate_update=_validate_class_update
        ),
        storage("VolumeAttributesClass"): Rules(
            validate=_validate_attributes, validate_update=_validate_attributes_update
        ),
        storage("CSIDriver"): Rules(default=_default_driver),
        storage("VolumeAttachment"): Rules(validate=_validate_attachment, has_status=True),
        storage("CSINode"): Rules(),
        storage("CSIStorageCapacity"): Rules(),
    }
