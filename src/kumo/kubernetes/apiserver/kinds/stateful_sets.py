"""Stateful sets."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import NOT_NEGATIVE, at_most_all, number_or_percent, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.claim_spec import validate_claim_spec
from kumo.kubernetes.apiserver.kinds.claim_warnings import claim_warnings
from kumo.kubernetes.apiserver.kinds.metadata import validate_annotations, validate_labels
from kumo.kubernetes.apiserver.kinds.pod import Options, validate_template
from kumo.kubernetes.apiserver.kinds.pod.options import TEMPLATE
from kumo.kubernetes.apiserver.kinds.pod.template import validate_pod_annotations
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.workload_checks import (
    check_always,
    check_collisions,
    check_counts,
    check_not_more,
    check_selected,
    check_selector,
    default_template,
    drop_from_template,
    template_options,
    template_warner,
)
from kumo.kubernetes.apiserver.kinds.workload_checks import (
    shown as shown_selector,
)

_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_RETENTION = ("Retain", "Delete")
_KEEPS_ALL = "a negative value retains all historical revisions; a value >= 0 is recommended"


def _default(obj: Object) -> None:
    spec = spec_of(obj)
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    set_default(spec, updateStrategy={}, replicas=1, revisionHistoryLimit=10, persistentVolumeClaimRetentionPolicy={})
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        if strategy.get("rollingUpdate") is None:
            strategy["rollingUpdate"] = {"partition": 0}
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        set_default(strategy["rollingUpdate"], partition=0)
    for key in ("whenDeleted", "whenScaled"):
        policy = spec["persistentVolumeClaimRetentionPolicy"]
        policy[key] = policy.get(key) or "Retain"
    for claim in spec.get("volumeClaimTemplates") or ():
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}  # Whatever was said.
        set_default(claim, status={})
        set_default(claim.setdefault("spec", {}), volumeMode="Filesystem")
        set_default(claim["status"], phase="Pending")
    default_template(spec)


def _on_write(new: Object, old: Object | None = None) -> None:
    drop_from_template(new, old)
    strategy = at(new, "spec.updateStrategy.rollingUpdate")
    if strategy and at(old or {}, "spec.updateStrategy.rollingUpdate.maxUnavailable") is None:
        strategy.pop("maxUnavailable", None)  # An alpha field.


def _validate(obj: Object) -> list[Cause]:
    return validate_spec(obj.get("spec") or {}, TEMPLATE)


def validate_spec(spec: dict[str, Any], options: Options, *, update: bool = False) -> list[Cause]:
    """What is wrong with a stateful set's spec; `update`: what can't be changed any more is let pass."""
    found: list[Cause] = []
    management = spec.get("podManagementPolicy") or ""
    if not management:
        found.append(fields.required("spec.podManagementPolicy"))
    elif management not in ("OrderedReady", "Parallel"):
        found.append(fields.invalid("spec.podManagementPolicy", management, "must be 'OrderedReady' or 'Parallel'"))
    _strategy(spec.get("updateStrategy") or {}, found)
    policy = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled") if policy else ():
        if policy.get(key) not in _RETENTION:
            path = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
            found.append(fields.unsupported(path, policy.get(key) or "", _RETENTION))
    if not update:
        for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            found += validate_claim_spec(f"spec.volumeClaimTemplates[{index}].spec", claim.get("spec") or {})
    check_counts(spec, "spec", found, "replicas", "minReadySeconds")
    start = at(spec, "ordinals.start") or 0
    if start < 0:
        found.append(fields.invalid("spec.ordinals.start", start, NOT_NEGATIVE))
    service = spec.get("serviceName")
    if service and not update:
        found += fields.each("spec.serviceName", service, names.check_label(service))
    template = spec.get("template") or {}
    if not check_selector(spec.get("selector"), "statefulset", found):
        found.append(fields.invalid("spec.selector", shown_selector(spec.get("selector")), ""))
    else:
        _template(spec, template, options, found)
    check_always("spec.template", template, "StatefulSet", found)
    return found


def _strategy(strategy: dict[str, Any], found: list[Cause]) -> None:
    kind, rolling, path = strategy.get("type") or "", strategy.get("rollingUpdate"), "spec.updateStrategy"
    if not kind:
        found.append(fields.required(path))
    elif kind == "OnDelete":
        if rolling is not None:
            shown = {"Partition": rolling.get("partition") or 0, "MaxUnavailable": rolling.get("maxUnavailable")}
            text = "only allowed for updateStrategy 'RollingUpdate'"
            found.append(fields.invalid(f"{path}.rollingUpdate", shown, text))
    elif kind == "RollingUpdate":
        if rolling is not None:
            check_counts(rolling, f"{path}.rollingUpdate", found, "partition")
            most = rolling.get("maxUnavailable")
            if most is not None:
                where = f"{path}.rollingUpdate.maxUnavailable"
                found += number_or_percent(where, most)
                if most in (0, "0%"):
                    found.append(fields.invalid(where, most, "cannot be 0"))
                found += at_most_all(where, most)
    else:
        shown = {"Type": kind, "RollingUpdate": None}
        if rolling is not None:
            whole = {"Partition": rolling.get("partition") or 0, "MaxUnavailable": rolling.get("maxUnavailable")}
            shown = {"Type": kind, "RollingUpdate": whole}
        found.append(fields.invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'"))


def _template(spec: dict[str, Any], template: dict[str, Any], options: Options, found: list[Cause]) -> None:
    """The template, as its pods will be: with volumes for the claims, and names that are given to them."""
    path = "spec.template"
    check_selected(path, spec.get("selector"), template, found)
    inside = {k: v for k, v in (template.get("spec") or {}).items() if k not in ("hostname", "subdomain")}
    claims = [claim.get("metadata", {}).get("name") or "" for claim in spec.get("volumeClaimTemplates") or ()]
    if claims:
        made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(claims)]
        inside["volumes"] = made + [v for v in inside.get("volumes") or () if v.get("name") not in claims]
    found += validate_template(path, {**template, "spec": inside}, options)
    meta = template.get("metadata") or {}
    found += validate_labels(f"{path}.labels", meta.get("labels"))
    if meta.get("annotations"):
        found += validate_annotations(f"{path}.annotations", meta["annotations"])
        found += validate_pod_annotations(f"{path}.annotations", meta["annotations"], inside, options)


def _check_update(new: Object, old: Object) -> list[Cause]:
    def fixed(obj: Object) -> dict[str, Any]:
        return {k: v for k, v in (obj.get("spec") or {}).items() if k not in _MUTABLE}

    found = validate_spec(new.get("spec") or {}, template_options(old), update=True)
    if fixed(new) != fixed(old):
        found.append(fields.forbidden("spec", _FIXED))
    return found


def _validate_status(new: Object, old: Object) -> list[Cause]:
    status = new.get("status") or {}
    found: list[Cause] = []
    parts = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    check_counts(status, "status", found, "replicas", *parts, "observedGeneration", "collisionCount")
    check_not_more(status, found, parts, "status.readyReplicas")
    check_collisions(new, old, found)
    return found


def _warn(new: Object, old: Object | None) -> list[str]:
    found = template_warner()(new, old)
    for index, claim in enumerate(at(new, "spec.volumeClaimTemplates") or ()):
        path = f"spec.volumeClaimTemplates[{index}]"
        found += claim_warnings(path if old is None else f"{path}.Spec", claim.get("spec") or {})
    if (at(new, "spec.revisionHistoryLimit") or 0) < 0:
        found.append(f"spec.revisionHistoryLimit: {_KEEPS_ALL}")
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of stateful sets."""
    return {
        GVK("apps", "v1", "StatefulSet"): Rules(
            default=_default,
            on_create=_on_write,
            on_update=_on_write,
            validate=_validate,
            check_update=_check_update,
            validate_status=_validate_status,
            warn=_warn,
            check_name=names.check_label,
            has_status=True,
            has_generation=True,
        )
    }
