"""Columns of volumes, claims and storage classes."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, annotations_of
from kumo.kubernetes.apiserver.tables.cells import UNSET, age, name, part, text
from kumo.kubernetes.apiserver.tables.columns import Columns, columns

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_CLASS = "volume.beta.kubernetes.io/storage-class"


def _modes(modes: Any) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _phase(obj: Object) -> str:
    return "Terminating" if part(obj, "metadata", "deletionTimestamp") else text(obj, "status", "phase")


def _class(obj: Object) -> str:
    return annotations_of(obj).get(_CLASS) or text(obj, "spec", "storageClassName")


def _volume(obj: Object, now: float) -> list[Any]:
    claim = part(obj, "spec", "claimRef")
    return [
        name(obj),
        text(obj, "spec", "capacity", "storage"),
        _modes(part(obj, "spec", "accessModes")),
        text(obj, "spec", "persistentVolumeReclaimPolicy"),
        _phase(obj),
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "",
        _class(obj),
        text(obj, "spec", "volumeAttributesClassName", missing=UNSET),
        text(obj, "status", "reason"),
        age(obj, now),
        text(obj, "spec", "volumeMode", missing=UNSET),
    ]


def _claim(obj: Object, now: float) -> list[Any]:
    bound = bool(part(obj, "spec", "volumeName"))
    return [
        name(obj),
        _phase(obj),
        text(obj, "spec", "volumeName"),
        text(obj, "status", "capacity", "storage", missing="0") if bound else "",
        _modes(part(obj, "status", "accessModes")) if bound else "",
        _class(obj),
        text(obj, "spec", "volumeAttributesClassName", missing=UNSET),
        age(obj, now),
        text(obj, "spec", "volumeMode", missing=UNSET),
    ]


def _storage_class(obj: Object, now: float) -> list[Any]:
    default = any(annotations_of(obj).get(key) == "true" for key in _DEFAULT)
    return [
        name(obj) + (" (default)" if default else ""),
        text(obj, "provisioner"),
        text(obj, "reclaimPolicy", missing="Delete"),
        text(obj, "volumeBindingMode", missing="Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now),
    ]


def _attributes_class(obj: Object, now: float) -> list[Any]:
    return [name(obj), text(obj, "driverName"), age(obj, now)]


def _attachment(obj: Object, now: float) -> list[Any]:
    return [
        name(obj),
        text(obj, "spec", "attacher"),
        text(obj, "spec", "source", "persistentVolumeName"),
        text(obj, "spec", "nodeName"),
        bool(part(obj, "status", "attached")),
        age(obj, now),
    ]


def _driver(obj: Object, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    requests = ",".join(t.get("audience") or "" for t in spec.get("tokenRequests") or ())
    return [
        name(obj),
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        requests or UNSET,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or "<none>",
        age(obj, now),
    ]


def _node(obj: Object, now: float) -> list[Any]:
    return [name(obj), len(part(obj, "spec", "drivers") or ()), age(obj, now)]


def tables() -> dict[str, Columns]:
    """The columns by resource and group."""
    return {
        "persistentvolumes": columns(
            "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age"
            "|+VolumeMode",
            _volume,
        ),
        "persistentvolumeclaims": columns(
            "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|+VolumeMode", _claim
        ),
        "storageclasses.storage.k8s.io": columns(
            "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age", _storage_class
        ),
        "volumeattributesclasses.storage.k8s.io": columns("Name|DriverName|Age", _attributes_class),
        "volumeattachments.storage.k8s.io": columns("Name|Attacher|PV|Node|?Attached|Age", _attachment),
        "csidrivers.storage.k8s.io": columns(
            "Name|?AttachRequired|?PodInfoOnMount|?StorageCapacity|TokenRequests|?RequiresRepublish|Modes|Age", _driver
        ),
        "csinodes.storage.k8s.io": columns("Name|#Drivers|Age", _node),
    }
