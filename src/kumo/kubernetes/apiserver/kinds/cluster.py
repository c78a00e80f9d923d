"""Namespaces, nodes, events, leases, priority and runtime classes."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, metadata, name_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, needed, set_default
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_NAME_LABEL = "kubernetes.io/metadata.name"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_HIGHEST_USER_PRIORITY = 1_000_000_000
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _default_namespace(obj: Object) -> None:
    if name_of(obj):
        meta = metadata(obj)
        meta["labels"] = {**(meta.get("labels") or {}), _NAME_LABEL: name_of(obj)}


def _create_namespace(obj: Object) -> None:
    _default_namespace(obj)
    finalizers = (obj.get("spec") or {}).get("finalizers") or []
    obj["spec"] = {"finalizers": [*finalizers, *(["kubernetes"] if "kubernetes" not in finalizers else [])]}
    obj["status"] = {"phase": "Active"}


def _update_namespace(new: Object, old: Object) -> None:
    new["spec"] = dict(old.get("spec") or {})


def _validate_namespace(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    for finalizer in (obj.get("spec") or {}).get("finalizers") or ():
        found += fields.each("spec.finalizers", finalizer, names.check_qualified_name(finalizer))
    return found


def _default_node(obj: Object) -> None:
    status = obj.get("status")
    if status and status.get("capacity"):
        allocatable = status["allocatable"] = dict(status.get("allocatable") or {})
        for name, quantity in status["capacity"].items():
            allocatable.setdefault(name, quantity)


def _validate_node(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    seen: set[tuple[Any, Any]] = set()
    for index, taint in enumerate(at(obj, "spec.taints") or ()):
        here = f"spec.taints[{index}]"
        key, value = taint.get("key") or "", taint.get("value") or ""
        found += fields.each(f"{here}.key", key, names.check_qualified_name(key))
        found += fields.each(f"{here}.value", value, names.check_label_value(value))
        found += choice(f"{here}.effect", taint.get("effect"), _EFFECTS)
        pair = (key, taint.get("effect"))
        if pair in seen:
            wrong = fields.duplicate(here, taint)
            found.append(wrong._replace(message=f"{wrong.message}: taints must be unique by key and effect pair"))
        seen.add(pair)
    for index, block in enumerate(at(obj, "spec.podCIDRs") or ()):
        found += fields.each(f"spec.podCIDRs[{index}]", block, names.check_cidr(block))
    return found


def _validate_node_update(new: Object, old: Object) -> list[Cause]:
    fresh, stale = new.get("spec") or {}, old.get("spec") or {}
    found: list[Cause] = []
    before = stale.get("podCIDRs") or []
    if before and before != (fresh.get("podCIDRs") or []):
        detail = 'node updates may not change podCIDR except from "" to valid'
        found.append(fields.forbidden("spec.podCIDRs", detail))
    if stale.get("providerID") and stale["providerID"] != fresh.get("providerID"):
        detail = 'node updates may not change providerID except from "" to valid'
        found.append(fields.forbidden("spec.providerID", detail))
    return found


def _validate_event(obj: Object) -> list[Cause]:
    namespace = at(obj, "metadata.namespace") or ""
    involved = at(obj, "involvedObject.namespace") or ""
    if involved and involved != namespace:
        return [fields.invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    if not involved and namespace not in ("", "default"):
        return [fields.invalid("involvedObject.namespace", involved, "does not match event.namespace")]
    return []


def _event_source(obj: Object) -> str:
    return str(at(obj, "source.component") or obj.get("reportingComponent") or "")


def _validate_lease(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        found.append(fields.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        found.append(fields.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return found


def _default_priority(obj: Object) -> None:
    set_default(obj, preemptionPolicy="PreemptLowerPriority")


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
    found = choice("preemptionPolicy", obj.get("preemptionPolicy"), ("PreemptLowerPriority", "Never"), needed=False)
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


def _validate_runtime(obj: Object) -> list[Cause]:
    handler = obj.get("handler") or ""
    return needed(obj, "", "handler") or fields.each("handler", handler, names.check_label(handler))


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def core(kind: str) -> GVK:
        return GVK("", "v1", kind)

    event = {f"involvedObject.{key}": f"involvedObject.{key}" for key in _INVOLVED}
    event |= {"reason": "reason", "reportingComponent": "reportingComponent", "type": "type"}
    regarding = {f"regarding.{key}": f"involvedObject.{key}" for key in _INVOLVED}  # As it is stored.
    regarding |= {"reason": "reason", "reportingController": "reportingComponent", "type": "type"}
    return {
        core("Namespace"): Rules(
            default=_default_namespace,
            on_create=_create_namespace,
            on_update=_update_namespace,
            validate=_validate_namespace,
            check_name=names.check_label,
            has_status=True,
            fields={"status.phase": "status.phase"},
        ),
        core("Node"): Rules(
            default=_default_node,
            validate=_validate_node,
            validate_update=_validate_node_update,
            has_status=True,
            status_on_create=True,
            fields={"spec.unschedulable": lambda obj: str(bool(at(obj, "spec.unschedulable"))).lower()},
        ),
        core("Event"): Rules(
            validate=_validate_event, fields={**event, "source": _event_source}, allow_create_on_update=True
        ),
        GVK("events.k8s.io", "v1", "Event"): Rules(fields=regarding, allow_create_on_update=True),
        GVK("coordination.k8s.io", "v1", "Lease"): Rules(validate=_validate_lease, allow_create_on_update=True),
        GVK("scheduling.k8s.io", "v1", "PriorityClass"): Rules(
            default=_default_priority,
            validate=_validate_priority,
            validate_update=_validate_priority_update,
            has_generation=True,
        ),
        GVK("node.k8s.io", "v1", "RuntimeClass"): Rules(
            validate=_validate_runtime,
            validate_update=lambda new, old: (
                [] if new.get("handler") == old.get("handler") else [fields.immutable("handler", new.get("handler"))]
            ),
        ),
    }
