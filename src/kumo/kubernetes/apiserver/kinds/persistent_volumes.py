"""Persistent volumes: pieces of storage that claims are bound to."""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.api.objects import Object, annotations_of, name_of, timestamp
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import set_default, spec_of
from kumo.kubernetes.apiserver.kinds.go_diff import go_diff, internal
from kumo.kubernetes.apiserver.kinds.node_labels import term_warnings
from kumo.kubernetes.apiserver.kinds.pod import network_volumes as network
from kumo.kubernetes.apiserver.kinds.pod.defaults import default_volume
from kumo.kubernetes.apiserver.kinds.pod.paths import no_backsteps
from kumo.kubernetes.apiserver.kinds.pod.scheduling import validate_node_selector
from kumo.kubernetes.apiserver.kinds.pod.volumes import CHECKS
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_POLICIES = ("Delete", "Recycle", "Retain")
_VOLUME_MODES = ("Block", "Filesystem")
_SECRETS = ("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef")
_MOUNTS = "volume.beta.kubernetes.io/mount-options"
_DEPRECATED_ANNOTATIONS = {
    "volume.beta.kubernetes.io/storage-class": 'deprecated since v1.8; use "storageClassName" attribute instead',
    _MOUNTS: 'deprecated since v1.31; use "mountOptions" attribute instead',
}
_RECYCLE = (
    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach "
    "is to use dynamic provisioning."
)
_DEPRECATED = {
    "cephfs": "spec.cephfs: deprecated in v1.28, non-functional in v1.31+",
    "photonPersistentDisk": "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+",
    "storageos": "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+",
    "rbd": "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
}
_NEW_LABELS = {
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}
_MORE = "may not specify more than 1 volume type"
Source = dict[str, Any]
Check = Callable[[str, Source, list[Cause]], None]


def _glusterfs(path: str, source: Source, found: list[Cause]) -> None:
    network.glusterfs(path, source, found)
    namespace = source.get("endpointsNamespace")
    if namespace == "":
        text = "if the endpointnamespace is set, it must be a valid namespace name"
        found.append(fields.invalid(f"{path}.endpointsNamespace", namespace, text))
    elif namespace is not None:
        found += fields.each(f"{path}.endpointsNamespace", namespace, names.check_label(namespace))


def _local(path: str, source: Source, found: list[Cause]) -> None:
    network.need(path, source, found, "path")
    if source.get("path"):
        found += no_backsteps(f"{path}.path", source["path"])


def _csi(path: str, source: Source, found: list[Cause]) -> None:
    network.check_driver(f"{path}.driver", source.get("driver") or "", found)
    network.need(path, source, found, "volumeHandle")
    for key in _SECRETS:
        if source.get(key) is not None:
            _secret(f"{path}.{key}", source[key], found)


def _secret(path: str, reference: Source, found: list[Cause]) -> None:
    for key, check in (("name", names.check_subdomain), ("namespace", names.check_label)):
        value = reference.get(key) or ""
        if not value:
            found.append(fields.required(f"{path}.{key}"))
        else:
            found += fields.each(f"{path}.{key}", value, check(value))


_CHECKS: dict[str, Check] = {
    **{key: CHECKS[key] for key in ("hostPath", "gcePersistentDisk", "awsElasticBlockStore")},
    "glusterfs": _glusterfs,
    **{key: CHECKS[key] for key in ("flocker", "nfs", "rbd", "quobyte", "cephfs")},
    "iscsi": partial(network.iscsi, plain=False),
    "cinder": partial(network.cinder, namespaced=False),
    **{key: CHECKS[key] for key in ("fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk")},
    **{key: CHECKS[key] for key in ("portworxVolume", "azureDisk", "scaleIO")},
    "local": _local,
    "storageos": partial(network.storageos, namespaced=False),
    "csi": _csi,
}
"""What is wrong with a volume of each kind, in the order in which upstream looks for them."""
_PATHS = {"gcePersistentDisk": "persistentDisk"}
_MISNAMED = {"cephfs": "cephFS"}
_UNMOUNTABLE = ("hostPath", "flocker", "fc", "flexVolume", "portworxVolume", "scaleIO", "local", "storageos", "csi")
_MOUNTABLE = frozenset(_CHECKS) - frozenset(_UNMOUNTABLE)


def _default(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, persistentVolumeReclaimPolicy="Retain")
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    default_volume(spec)
    status = obj.setdefault("status", {})
    status["phase"] = status.get("phase") or "Pending"


def _on_create(obj: Object) -> None:
    obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": timestamp()}


def _prepare_status(new: Object, old: Object) -> None:
    """Remember when a volume's phase last changed."""
    status = new.setdefault("status", {})
    before, after = at(old, "status.lastPhaseTransitionTime"), status.get("lastPhaseTransitionTime")
    if status.get("phase") == at(old, "status.phase"):
        if after is None and before is not None:
            status["lastPhaseTransitionTime"] = before
    elif after in (None, before):
        status["lastPhaseTransitionTime"] = timestamp()


def _validate(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    validate_access("spec.accessModes", spec.get("accessModes") or (), found)
    _capacity(spec.get("capacity"), found)
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in _POLICIES:
        found.append(fields.unsupported("spec.persistentVolumeReclaimPolicy", policy, _POLICIES))
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        required, path = affinity.get("required"), "spec.nodeAffinity.required"
        if required is None:
            found.append(fields.required(path, "must specify required node constraints"))
        else:
            found += validate_node_selector(path, required)
    validate_sources("spec", spec, name_of(obj), found)
    location = at(spec, "hostPath.path")
    if policy == "Recycle" and location is not None and posixpath.normpath(location or ".") == "/":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        found.append(fields.forbidden("spec.persistentVolumeReclaimPolicy", detail))
    if spec.get("storageClassName"):
        found += fields.each("spec.storageClassName", spec["storageClassName"], _class_name(spec["storageClassName"]))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in _VOLUME_MODES:
        found.append(fields.unsupported("spec.volumeMode", mode, _VOLUME_MODES))
    _attributes(spec, found)
    if _MOUNTS in annotations_of(obj) and not any(spec.get(kind) is not None for kind in _MOUNTABLE):
        text = "may not specify mount options for this volume type"
        found.append(fields.forbidden(f"metadata.annotations.{_MOUNTS}", text))
    return found


def _class_name(name: str) -> list[str]:
    return names.check_subdomain(name)


def validate_access(path: str, modes: Sequence[str], found: list[Cause]) -> None:
    """The ways in which a volume may be mounted."""
    if not modes:
        found.append(fields.required(path))
    found += [fields.unsupported(path, mode, _MODES) for mode in modes if mode not in _MODES]
    if "ReadWriteOncePod" in modes and any(mode in _MODES[:3] for mode in modes):
        found.append(fields.forbidden(path, "may not use ReadWriteOncePod with other access modes"))


def _capacity(capacity: dict[str, Any] | None, found: list[Cause]) -> None:
    path = "spec.capacity"
    if not capacity:
        found.append(fields.required(path))
    if not capacity or "storage" not in capacity or len(capacity) > 1:
        found.append(fields.unsupported(path, capacity, ("storage",)))
    for name, quantity in (capacity or {}).items():
        here, value = f"{path}[{name}]", quantities.parse(quantity)
        if value < 0:
            found.append(fields.invalid(here, quantities.whole(quantity), "must be a valid resource quantity"))
        if value <= 0:
            found.append(fields.invalid(here, str(quantity), "must be greater than zero"))


def validate_sources(path: str, spec: dict[str, Any], name: str, found: list[Cause]) -> None:
    """The one source of a volume of this name."""
    count = 0
    for kind, check in _CHECKS.items():
        source = spec.get(kind)
        if source is None:
            continue
        if count and kind != "flexVolume":
            found.append(fields.forbidden(f"{path}.{_MISNAMED.get(kind, kind)}", _MORE))
            continue
        count += 1
        check(f"{path}.{_PATHS.get(kind, kind)}", source, found)
        if kind == "iscsi" and network.is_too_long(name, source):
            portal = source.get("targetPortal") or ""
            found.append(fields.invalid(f"{path}.iscsi.targetportal", portal, network.ISCSI_TOO_LONG))
        if kind == "local" and spec.get("nodeAffinity") is None:
            found.append(fields.required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    if not count:
        found.append(fields.required(path, "must specify a volume type"))


def _attributes(spec: dict[str, Any], found: list[Cause]) -> None:
    name, path = spec.get("volumeAttributesClassName"), "spec.volumeAttributesClassName"
    if name is None:
        return
    if not name:
        found.append(fields.required(path, "an empty string is disallowed"))
    else:
        found += fields.each(path, name, _class_name(name))
    if spec.get("csi") is None:
        found.append(fields.required("spec.csi", "has to be specified when using volumeAttributesClassName"))


def _source_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {kind: copy.deepcopy(spec[kind]) for kind in _CHECKS if spec.get(kind) is not None}


def _check_update(new: Object, old: Object) -> list[Cause]:
    found = _validate(new)
    found += [cause for cause in found if _MOUNTS not in cause.field]  # Upstream looks twice.
    spec, stale = new.get("spec") or {}, old.get("spec") or {}
    source, before = _source_of(spec), _source_of(stale)
    if "csi" in before and before["csi"].get("controllerExpandSecretRef") is None:
        source.get("csi", {}).pop("controllerExpandSecretRef", None)
    if source != before:
        text = go_diff("core.v1.PersistentVolumeSource", before, source)
        detail = f"spec.persistentvolumesource is immutable after creation\n{text}"
        found.append(fields.forbidden("spec.persistentvolumesource", detail))
    if spec.get("volumeMode") != stale.get("volumeMode"):
        found.append(fields.immutable("volumeMode", spec.get("volumeMode")))
    _affinity_stays(spec.get("nodeAffinity"), stale.get("nodeAffinity"), found)
    if stale.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        text = "update from non-nil value to nil is forbidden"
        found.append(fields.forbidden("spec.volumeAttributesClassName", text))
    return found


def _affinity_stays(new: dict[str, Any] | None, old: dict[str, Any] | None, found: list[Cause]) -> None:
    """Which nodes reach the volume is fixed once it is said, except that labels may get their newer names."""
    if old is None or new == old or (new is not None and _relabelled(old, new) == new):
        return
    shown = internal("core.v1.VolumeNodeAffinity", new) if new is not None else None
    detail = "field is immutable, except for updating from beta label to GA"
    found.append(fields.invalid("nodeAffinity", shown, detail))


def _relabelled(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The old affinity with the newer names of labels where the new one has them."""
    renamed = copy.deepcopy(old)
    pairs = zip(_requirements(renamed), _requirements(new), strict=False)
    for mine, theirs in pairs:
        if theirs.get("key") == _NEW_LABELS.get(mine.get("key") or "", ""):
            mine["key"] = theirs["key"]
    return renamed


def _requirements(affinity: dict[str, Any]) -> list[dict[str, Any]]:
    terms = at(affinity, "required.nodeSelectorTerms") or ()
    return [item for term in terms for item in term.get("matchExpressions") or ()]


def _warn(new: Object, old: Object | None) -> list[str]:
    spec, annotations = new.get("spec") or {}, annotations_of(new)
    told = [f"metadata.annotations[{k}]: {text}" for k, text in _DEPRECATED_ANNOTATIONS.items() if k in annotations]
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        told.append(_RECYCLE)
    for index, term in enumerate(at(spec, "nodeAffinity.required.nodeSelectorTerms") or ()):
        told += term_warnings(f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]", term, weighted=False)
    return told + [text for kind, text in _DEPRECATED.items() if spec.get(kind) is not None]


def rules() -> dict[GVK, Rules]:
    """The rules of persistent volumes."""
    return {
        GVK("", "v1", "PersistentVolume"): Rules(
            default=_default,
            on_create=_on_create,
            prepare_status=_prepare_status,
            validate=_validate,
            check_update=_check_update,
            warn=_warn,
            revalidates=True,
            has_status=True,
        )
    }
