"""Claims for storage: what they are filled from, and what of a claim may change."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.api.objects import Object, annotations_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import spec_of
from kumo.kubernetes.apiserver.kinds.claim_spec import validate_claim_spec
from kumo.kubernetes.apiserver.kinds.claim_warnings import claim_warnings
from kumo.kubernetes.apiserver.kinds.go_diff import go_diff
from kumo.kubernetes.apiserver.kinds.pod.resources import is_native
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
_SNAPSHOT = ("snapshot.storage.k8s.io", "VolumeSnapshot")
_RESIZES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)
_STORAGE = "spec.resources.requests.storage"


def _default(obj: Object) -> None:
    spec = spec_of(obj)
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    status = obj.setdefault("status", {})
    status["phase"] = status.get("phase") or "Pending"


def _on_create(obj: Object) -> None:
    obj["status"] = {"phase": "Pending"}
    _settle_sources(spec_of(obj), {})


def _settle_sources(spec: dict[str, Any], old: dict[str, Any]) -> None:
    """Drop what a claim cannot be filled from, and have both fields that say it say the same."""
    if at(spec, "dataSourceRef.namespace") and old.get("dataSourceRef") is None:
        del spec["dataSourceRef"]  # Of another namespace: a feature that is off.
    unused = old.get("dataSource") is None and old.get("dataSourceRef") is None
    source = spec.get("dataSource")
    if unused and spec.get("dataSourceRef") is None and source is not None and not _fills(source):
        del spec["dataSource"]  # The older field names only claims and snapshots.
    _mirror_source(spec)


def _fills(source: dict[str, Any]) -> bool:
    kind, group = source.get("kind") or "", source.get("apiGroup") or ""
    return (group, kind) in (("", "PersistentVolumeClaim"), _SNAPSHOT)


def _mirror_source(spec: dict[str, Any]) -> None:
    """The two fields that say what a claim is filled from say the same, unless a namespace is named."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {k: v for k, v in reference.items() if k != "namespace"}


def _on_update(new: Object, old: Object) -> None:
    _settle_sources(spec_of(new), old.get("spec") or {})


def _validate(obj: Object) -> list[Cause]:
    return validate_claim_spec("spec", obj.get("spec") or {})


def _check_update(new: Object, old: Object) -> list[Cause]:
    spec, stale = new.get("spec") or {}, old.get("spec") or {}
    grouped = any(at(stale, f"{key}.apiGroup") is not None for key in ("dataSource", "dataSourceRef"))
    found = validate_claim_spec("spec", spec, any_group=grouped)
    changed, before = copy.deepcopy(spec), copy.deepcopy(stale)
    if not stale.get("volumeName"):
        before.pop("volumeName", None)
        changed.pop("volumeName", None)
    if stale.get("storageClassName") is None and spec.get("storageClassName") is not None:
        old_name = annotations_of(old).get(_BETA_CLASS)
        if old_name is None or spec["storageClassName"] == old_name:
            changed.pop("storageClassName", None)
            before.pop("storageClassName", None)
    if at(new, "status.phase") == "Bound":
        _put(changed, "volumeAttributesClassName", stale.get("volumeAttributesClassName"))
        if at(changed, "resources.requests") is not None:
            _put(changed["resources"]["requests"], "storage", at(old, _STORAGE))
    if changed != before:
        difference = go_diff("core.v1.PersistentVolumeClaimSpec", before, changed)
        found.append(fields.forbidden("spec", f"{_FIXED}\n{difference}"))
    size, least = at(new, _STORAGE), at(old, _STORAGE)
    given = at(old, "status.capacity.storage")
    if quantities.parse(size or 0) < quantities.parse(least or 0) and (
        quantities.parse(size or 0) <= quantities.parse(given or 0)
    ):
        found.append(fields.forbidden(_STORAGE, "field can not be less than status.capacity"))
    if spec.get("volumeMode") != stale.get("volumeMode"):
        found.append(fields.immutable("volumeMode", spec.get("volumeMode")))
    if at(old, "status.currentVolumeAttributesClassName") is not None:
        kind, path = spec.get("volumeAttributesClassName"), "spec.volumeAttributesClassName"
        if not kind and kind != stale.get("volumeAttributesClassName"):
            what = "nil" if kind is None else "empty string"
            text = f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
            found.append(fields.forbidden(path, text))
    return found


def _validate_status(new: Object, old: Object) -> list[Cause]:
    status = new.get("status") or {}
    found: list[Cause] = []
    for name, quantity in (status.get("capacity") or {}).items():
        _amount(f"status.capacity[{name}]", quantity, found)
    path = "status.allocatedResourceStatuses"
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        found += _resource(path, name)
        if state not in _RESIZES:
            found.append(fields.unsupported(path, name, _RESIZES))
    path = "status.allocatedResources"
    for name, quantity in (status.get("allocatedResources") or {}).items():
        wrong = _resource(path, name)
        found += wrong
        if not wrong:
            _amount(f"{path}[{name}]", quantity, found)
    return found


def _amount(path: str, quantity: Any, found: list[Cause]) -> None:
    if quantities.parse(quantity) < 0:
        found.append(fields.invalid(path, quantities.whole(quantity), "must be a valid resource quantity"))


def _resource(path: str, name: str) -> list[Cause]:
    found = fields.each(path, name, names.check_qualified_name(name))
    if not found and is_native(name) and name != "storage":
        found.append(fields.unsupported(path, name, ("storage",)))
    return found


def _put(obj: dict[str, Any], key: str, value: Any) -> None:
    obj.pop(key, None)
    if value is not None:
        obj[key] = value


def _warn(new: Object, old: Object | None) -> list[str]:
    told = [_OLD_CLASS] if _BETA_CLASS in annotations_of(new) else []
    if old is not None and new.get("spec") == old.get("spec"):
        return told
    return told + list(claim_warnings("spec", new.get("spec") or {}))


_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_OLD_CLASS = f'metadata.annotations[{_BETA_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'


def rules() -> dict[GVK, Rules]:
    """The rules of the kind in this module."""
    return {
        GVK("", "v1", "PersistentVolumeClaim"): Rules(
            default=_default,
            on_create=_on_create,
            on_update=_on_update,
            validate=_validate,
            check_update=_check_update,
            validate_status=_validate_status,
            warn=_warn,
            has_status=True,
            revalidates=True,
        )
    }
