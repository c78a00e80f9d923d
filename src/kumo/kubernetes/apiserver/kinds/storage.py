"""Volumes, storage classes, CSI drivers and attachments."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.api.objects import Object, timestamp
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, needed, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_NOT_SOURCES = (
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
)


def _modes(path: str, modes: Any) -> list[Cause]:
    if not modes:
        return [fields.required(path, "at least 1 access mode is required")]
    found = [fields.unsupported(path, m, _MODES) for m in modes if m not in _MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        found.append(fields.forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return found


def _default_volume(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    if spec.get("hostPath") is not None:
        set_default(spec["hostPath"], type="")


def _note_phase(new: Object, old: Object) -> None:
    """Remember when a volume's phase last changed."""
    status = new.setdefault("status", {})
    if status.get("phase") != at(old, "status.phase") and (
        status.get("lastPhaseTransitionTime") == at(old, "status.lastPhaseTransitionTime")
    ):
        status["lastPhaseTransitionTime"] = timestamp()


def _validate_volume(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _modes("spec.accessModes", spec.get("accessModes"))
    capacity = spec.get("capacity") or {}
    if not capacity:
        found.append(fields.required("spec.capacity"))
    elif "storage" not in capacity or len(capacity) > 1:
        found.append(fields.unsupported("spec.capacity", capacity, ("storage",)))
    elif quantities.parse(capacity["storage"]) <= 0:
        found.append(fields.invalid("spec.capacity[storage]", str(capacity["storage"]), "must be greater than zero"))
    sources = [k for k, v in spec.items() if k not in _NOT_SOURCES and v is not None]
    if not sources:
        found.append(fields.required("spec", "must specify a volume type"))
    for extra in sources[1:]:
        found.append(fields.forbidden(f"spec.{extra}", "may not specify more than 1 volume type"))
    if sources[:1] == ["hostPath"]:
        location = spec["hostPath"].get("path") or ""
        found += needed(spec["hostPath"], "spec.hostPath", "path")
        if ".." in location.split("/"):
            found.append(fields.invalid("spec.hostPath.path", location, "must not contain '..'"))
        if location == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            detail = "may not be 'recycle' for a hostPath mount of '/'"
            found.append(fields.forbidden("spec.persistentVolumeReclaimPolicy", detail))
    policies = ("Delete", "Recycle", "Retain")
    found += choice("spec.persistentVolumeReclaimPolicy", spec.get("persistentVolumeReclaimPolicy"), policies)
    return found + choice("spec.volumeMode", spec.get("volumeMode"), _VOLUME_MODES, needed=False)


def _validate_volume_update(new: Object, old: Object) -> list[Cause]:
    def source(obj: Object) -> dict[str, Any]:
        return {k: v for k, v in (obj.get("spec") or {}).items() if k not in _NOT_SOURCES}

    found: list[Cause] = []
    if source(new) != source(old):
        found.append(
            fields.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        )
    if at(new, "spec.volumeMode") != at(old, "spec.volumeMode"):
        found.append(fields.immutable("spec.volumeMode", at(new, "spec.volumeMode")))
    return found


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
        GVK("", "v1", "PersistentVolume"): Rules(
            default=_default_volume,
            validate=_validate_volume,
            validate_update=_validate_volume_update,
            on_create=lambda obj: obj.update(status={"phase": "Pending", "lastPhaseTransitionTime": timestamp()}),
            prepare_status=_note_phase,
            has_status=True,
        ),
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
