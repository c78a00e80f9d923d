"""Claims for storage: what they are filled from, and what of a claim may change."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api import fields, quantities
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import set_default, spec_of
from kumo.kubernetes.apiserver.kinds.claim_spec import validate_claim_spec
from kumo.kubernetes.apiserver.kinds.claim_warnings import claim_warnings
from kumo.kubernetes.apiserver.kinds.go_diff import go_diff
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
_SNAPSHOT = ("snapshot.storage.k8s.io", "VolumeSnapshot")
_STORAGE = "spec.resources.requests.storage"


def _default(obj: Object) -> None:
    set_default(spec_of(obj), volumeMode="Filesystem")


def _on_create(obj: Object) -> None:
    obj["status"] = {"phase": "Pending"}
    spec = spec_of(obj)
    source = spec.get("dataSource")
    if source is not None and not _fills(source):
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
    reference = at(old, "spec.dataSourceRef")
    if reference is None or not reference.get("namespace"):
        _mirror_source(spec_of(new))


def _validate(obj: Object) -> list[Cause]:
    return validate_claim_spec("spec", obj.get("spec") or {})


def _check_update(new: Object, old: Object) -> list[Cause]:
    spec, stale = new.get("spec") or {}, old.get("spec") or {}
    found = validate_claim_spec("spec", spec, any_group=True)
    changed, before = copy.deepcopy(spec), copy.deepcopy(stale)
    if not stale.get("volumeName"):
        before.pop("volumeName", None)
        changed.pop("volumeName", None)
    if stale.get("storageClassName") is None:
        changed.pop("storageClassName", None)
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


def _put(obj: dict[str, Any], key: str, value: Any) -> None:
    obj.pop(key, None)
    if value is not None:
        obj[key] = value


def _warn(new: Object, old: Object | None) -> list[str]:
    if old is not None and new.get("spec") == old.get("spec"):
        return []
    return list(claim_warnings("spec", new.get("spec") or {}))


def rules() -> dict[GVK, Rules]:
    """The rules of the kind in this module."""
    return {
        GVK("", "v1", "PersistentVolumeClaim"): Rules(
            default=_default,
            on_create=_on_create,
            on_update=_on_update,
            validate=_validate,
            check_update=_check_update,
            warn=_warn,
            has_status=True,
            revalidates=True,
        )
    }
