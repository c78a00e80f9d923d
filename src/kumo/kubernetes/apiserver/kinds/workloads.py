"""Deployments, replica sets, stateful sets, daemon sets, replication controllers, controller revisions."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, intstr
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.selectors import from_map, matches
from kumo.kubernetes.apiserver.kinds.checks import (
    at_most_all,
    choice,
    not_negative,
    number_or_percent,
    set_default,
    spec_of,
    unchanged,
)
from kumo.kubernetes.apiserver.kinds.pod import validate_template
from kumo.kubernetes.apiserver.kinds.pod.defaults import default_pod_spec
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_QUARTER = "25%"
_STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def default_template(spec: dict[str, Any]) -> None:
    """Set the defaults of `spec.template`, in place."""
    set_default(spec, template={})
    set_default(spec["template"], spec={})
    default_pod_spec(spec["template"]["spec"])


def _default_deployment(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec["strategy"]
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        set_default(strategy, rollingUpdate={})
        set_default(strategy["rollingUpdate"], maxUnavailable=_QUARTER, maxSurge=_QUARTER)
    default_template(spec)


def _default_replicas(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, replicas=1)
    default_template(spec)


def _default_controller(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, replicas=1)
    if spec.get("template") is not None:
        default_template(spec)
    labels = at(obj, "spec.template.metadata.labels")
    if labels:
        if not obj["spec"].get("selector"):
            obj["spec"]["selector"] = dict(labels)
        if not at(obj, "metadata.labels"):
            obj["metadata"]["labels"] = dict(labels)


def _default_stateful(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, replicas=1, revisionHistoryLimit=10, updateStrategy={}, persistentVolumeClaimRetentionPolicy={})
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        set_default(strategy, rollingUpdate={})
        set_default(strategy["rollingUpdate"], partition=0)
    set_default(spec["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        set_default(claim, apiVersion="v1", kind="PersistentVolumeClaim", status={})
        set_default(claim.setdefault("spec", {}), volumeMode="Filesystem")
        set_default(claim["status"], phase="Pending")
    default_template(spec)


def _default_daemon(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, revisionHistoryLimit=10, updateStrategy={})
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        set_default(strategy, rollingUpdate={})
        set_default(strategy["rollingUpdate"], maxUnavailable=1, maxSurge=0)
    default_template(spec)


def validate_workload(obj: Object, what: str, *, always: bool = True) -> list[Cause]:
    """What workloads share: selector, template, and that one selects the other; `what` names the kind in messages."""
    spec = obj.get("spec") or {}
    found = not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    selector = spec.get("selector")
    if selector is None:
        found.append(fields.required("spec.selector"))
    else:
        found += validate_label_selector("spec.selector", selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            detail = f"empty selector is invalid for {what}"
            found.append(fields.invalid("spec.selector", selector, detail))
    labels = at(spec, "template.metadata.labels") or {}
    if selector and not matches(selector, labels):
        detail = "`selector` does not match template `labels`"
        found.append(fields.invalid("spec.template.metadata.labels", labels, detail))
    found += validate_template("spec.template", spec.get("template"))
    return found + _restart_always(spec, what) if always else found


def _restart_always(spec: dict[str, Any], what: str) -> list[Cause]:
    found: list[Cause] = []
    policy = at(spec, "template.spec.restartPolicy")
    if policy in ("OnFailure", "Never"):
        found.append(fields.unsupported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if at(spec, "template.spec.activeDeadlineSeconds") is not None:
        name = {"deployment": "ReplicaSet", "replicaset": "ReplicaSet", "daemon set": "DaemonSet"}.get(
            what, "StatefulSet"
        )
        detail = f"activeDeadlineSeconds in {name} is not Supported"
        found.append(fields.forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return found


def _validate_deployment(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = validate_workload(obj, "deployment")
    strategy = spec.get("strategy") or {}
    kind = strategy.get("type")
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            found.append(fields.forbidden("spec.strategy.rollingUpdate", detail))
    elif kind == "RollingUpdate":
        found += _rolling("spec.strategy.rollingUpdate", rolling or {}, surge=True)
    else:
        found += choice("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        detail = "must be greater than minReadySeconds"
        found.append(fields.invalid("spec.progressDeadlineSeconds", deadline, detail))
    return found


def _rolling(path: str, rolling: dict[str, Any], *, surge: bool) -> list[Cause]:
    unavailable, more = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    found = number_or_percent(f"{path}.maxUnavailable", unavailable)
    found += number_or_percent(f"{path}.maxSurge", more)
    if not found and _nothing(unavailable) and _nothing(more):
        detail = "may not be 0 when `maxSurge` is 0" if surge else "cannot be 0 when maxSurge is 0"
        found.append(fields.invalid(f"{path}.maxUnavailable", unavailable, detail))
    return found + at_most_all(f"{path}.maxUnavailable", unavailable)


def _nothing(value: Any) -> bool:
    return not value or (isinstance(value, str) and intstr.percent(value) == 0)


def _validate_daemon(obj: Object) -> list[Cause]:
    found = validate_workload(obj, "daemon set")
    strategy = at(obj, "spec.updateStrategy") or {}
    kind = strategy.get("type")
    if kind == "RollingUpdate":
        found += _rolling("spec.updateStrategy.rollingUpdate", strategy.get("rollingUpdate") or {}, surge=False)
    else:
        found += choice("spec.updateStrategy.type", kind, ("OnDelete", "RollingUpdate"))
    return found


def _validate_stateful(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = validate_workload(obj, "statefulset")
    management = spec.get("podManagementPolicy")
    if management not in ("OrderedReady", "Parallel"):
        detail = "must be 'OrderedReady' or 'Parallel'"
        found.append(
            fields.invalid("spec.podManagementPolicy", management, detail)
            if management
            else fields.required("spec.podManagementPolicy")
        )
    kind = at(spec, "updateStrategy.type")
    if kind not in ("OnDelete", "RollingUpdate"):
        detail = "must be 'RollingUpdate' or 'OnDelete'"
        found.append(fields.invalid("spec.updateStrategy", spec.get("updateStrategy"), detail))
    partition = at(spec, "updateStrategy.rollingUpdate.partition") or 0
    if partition < 0:
        found += not_negative({"partition": partition}, "spec.updateStrategy.rollingUpdate", "partition")
    return found


def _validate_stateful_update(new: Object, old: Object) -> list[Cause]:
    def fixed(obj: Object) -> dict[str, Any]:
        return {k: v for k, v in (obj.get("spec") or {}).items() if k not in _STATEFUL_MUTABLE}

    if fixed(new) == fixed(old):
        return []
    detail = (
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
        "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    )
    return [fields.forbidden("spec", detail)]


def _validate_controller(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = not_negative(spec, "spec", "replicas", "minReadySeconds")
    selector, labels = spec.get("selector") or {}, at(spec, "template.metadata.labels") or {}
    if not selector:
        found.append(fields.required("spec.selector"))
    elif spec.get("template") is None:
        found.append(fields.required("spec.template"))
    elif not from_map(selector).matches(labels):
        detail = "`selector` does not match template `labels`"
        found.append(fields.invalid("spec.template.metadata.labels", labels, detail))
    if spec.get("template") is not None:
        found += validate_template("spec.template", spec["template"])
    return found + _restart_always(spec, "replicaset")


def _selector_stays(new: Object, old: Object) -> list[Cause]:
    return unchanged(new, old, "spec.selector")


def _validate_revision_update(new: Object, old: Object) -> list[Cause]:
    return [] if new.get("data") == old.get("data") else [fields.immutable("data", new.get("data"))]


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    replicas = {"status.replicas": "status.replicas"}

    def apps(kind: str) -> GVK:
        return GVK("apps", "v1", kind)

    return {
        apps("Deployment"): Rules(
            default=_default_deployment,
            validate=_validate_deployment,
            validate_update=_selector_stays,
            has_status=True,
            has_generation=True,
        ),
        apps("ReplicaSet"): Rules(
            default=_default_replicas,
            validate=lambda obj: validate_workload(obj, "deployment"),
            validate_update=_selector_stays,
            has_status=True,
            has_generation=True,
            fields=replicas,
        ),
        apps("StatefulSet"): Rules(
            default=_default_stateful,
            validate=_validate_stateful,
            validate_update=_validate_stateful_update,
            has_status=True,
            has_generation=True,
        ),
        apps("DaemonSet"): Rules(
            default=_default_daemon,
            validate=_validate_daemon,
            validate_update=_selector_stays,
            has_status=True,
            has_generation=True,
        ),
        apps("ControllerRevision"): Rules(validate_update=_validate_revision_update),
        GVK("", "v1", "ReplicationController"): Rules(
            default=_default_controller,
            validate=_validate_controller,
            has_status=True,
            has_generation=True,
            fields=replicas,
        ),
    }
