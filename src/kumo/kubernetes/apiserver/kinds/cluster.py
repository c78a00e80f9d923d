"""Namespaces, leases, priority and runtime classes."""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, is_deleting, metadata, name_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, set_default
from kumo.kubernetes.apiserver.kinds.metadata import STANDARD_FINALIZERS
from kumo.kubernetes.apiserver.kinds.rules import Rules

_NAME_LABEL = "kubernetes.io/metadata.name"
_HIGHEST_USER_PRIORITY = 1_000_000_000


def _default_namespace(obj: Object) -> None:
    if name_of(obj):
        meta = metadata(obj)
        meta["labels"] = {**(meta.get("labels") or {}), _NAME_LABEL: name_of(obj)}
    status = obj.setdefault("status", {})
    status["phase"] = status.get("phase") or "Active"


def _create_namespace(obj: Object) -> None:
    _default_namespace(obj)
    finalizers = (obj.get("spec") or {}).get("finalizers") or []
    obj["spec"] = {"finalizers": [*finalizers, *(["kubernetes"] if "kubernetes" not in finalizers else [])]}
    obj["status"] = {"phase": "Active"}


def _update_namespace(new: Object, old: Object) -> None:
    new["spec"] = dict(old.get("spec") or {})


def _validate_namespace(obj: Object) -> list[Cause]:
    path, found = "spec.finalizers", list[Cause]()
    for finalizer in (obj.get("spec") or {}).get("finalizers") or ():
        found += _finalizer(path, finalizer)
    return found


def finalizer_complaints(finalizers: Iterable[str]) -> list[Cause]:
    """What is wrong with what shall keep a namespace from going."""
    return [c for i, finalizer in enumerate(finalizers) for c in _finalizer(f"spec.finalizers[{i}]", finalizer)]


def _finalizer(path: str, finalizer: str) -> list[Cause]:
    found = fields.each(path, finalizer, names.check_qualified_name(finalizer))
    if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
        text = "name is neither a standard finalizer name nor is it fully qualified"
        found.append(fields.invalid(path, finalizer, text))
    return found


def _validate_namespace_status(new: Object, old: Object) -> list[Cause]:
    phase = (new.get("status") or {}).get("phase") or ""
    wanted, empty = ("Terminating", "not empty") if is_deleting(new) else ("Active", "empty")
    if phase == wanted:
        return []
    return [fields.invalid("status.Phase", phase, f"may only be '{wanted}' if `deletionTimestamp` is {empty}")]


def _validate_lease(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        found.append(fields.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        found.append(fields.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return found


def _create_lease(obj: Object) -> None:
    """Without coordinated leader election (a feature that is off) two fields mean nothing."""
    for key in ("strategy", "preferredHolder"):
        (obj.get("spec") or {}).pop(key, None)


def _update_lease(new: Object, old: Object) -> None:
    for key in ("strategy", "preferredHolder"):
        if (old.get("spec") or {}).get(key) is None:
            (new.get("spec") or {}).pop(key, None)


def _default_priority(obj: Object) -> None:
    set_default(obj, preemptionPolicy="PreemptLowerPriority")


def _create_priority(obj: Object) -> None:
    metadata(obj)["generation"] = 1  # It is never counted on.


def _validate_priority(obj: Object) -> list[Cause]:
    name, value = name_of(obj), obj.get("value") or 0
    if name.startswith("system-"):
        detail = "priority class names with 'system-' prefix are reserved for system use only. error: "
        known = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}.get(name)
        if known is None:
            return [fields.forbidden("metadata.name", f"{detail}{name} is not a known system priority class")]
        if value != known:
            words = f"value of {name} PriorityClass must be {known}"
            return [fields.forbidden("metadata.name", detail + words)]
        if obj.get("globalDefault"):
            words = f"globalDefault of {name} PriorityClass must be false"
            return [fields.forbidden("metadata.name", detail + words)]
        return []
    found = choice("preemptionPolicy", obj.get("preemptionPolicy"), ("PreemptLowerPriority", "Never"))
    if value > _HIGHEST_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        found.append(fields.forbidden("value", detail))
    return found


def _validate_priority_update(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    if (new.get("value") or 0) != (old.get("value") or 0):
        found.append(fields.forbidden("value", "may not be changed in an update."))
    if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
        found.append(fields.immutable("preemptionPolicy", new.get("preemptionPolicy")))
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def core(kind: str) -> GVK:
        return GVK("", "v1", kind)

    return {
        core("Namespace"): Rules(
            default=_default_namespace,
            on_create=_create_namespace,
            on_update=_update_namespace,
            validate=_validate_namespace,
            validate_status=_validate_namespace_status,
            revalidates=True,
            check_name=names.check_label,
            has_status=True,
            fields={"status.phase": "status.phase"},
        ),
        GVK("coordination.k8s.io", "v1", "Lease"): Rules(
            validate=_validate_lease,
            on_create=_create_lease,
            on_update=_update_lease,
            allow_create_on_update=True,
            any_finalizer=True,
            unconditional_update=False,
        ),
        GVK("scheduling.k8s.io", "v1", "PriorityClass"): Rules(
            default=_default_priority,
            validate_create=_validate_priority,
            check_update=_validate_priority_update,
            on_create=_create_priority,
        ),
    }
