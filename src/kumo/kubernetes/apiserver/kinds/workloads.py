"""Deployments, replica sets, daemon sets, replication controllers, controller revisions."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, intstr
from kumo.api.errors import Cause
from kumo.api.objects import Object, metadata
from kumo.api.resources import GVK
from kumo.api.selectors import from_map
from kumo.kubernetes.apiserver.kinds.checks import (
    at_most_all,
    number_or_percent,
    set_default,
    spec_of,
)
from kumo.kubernetes.apiserver.kinds.pod import Options, validate_template
from kumo.kubernetes.apiserver.kinds.pod.options import TEMPLATE
from kumo.kubernetes.apiserver.kinds.rules import Rules, as_field, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector
from kumo.kubernetes.apiserver.kinds.workload_checks import (
    check_always,
    check_collisions,
    check_counts,
    check_kept_pods,
    check_not_more,
    check_selected,
    check_selector,
    default_labels,
    default_template,
    drop_from_template,
    is_usable,
    shown,
    template_options,
    template_warner,
)

_QUARTER = "25%"
_DEPLOYMENT = ("Recreate", "RollingUpdate")
_DAEMON = ("RollingUpdate", "OnDelete")
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_DATA = "data must be a valid JSON object"


# -- deployments ------------------------------------------------------------------------------------------------------


def _default_deployment(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec["strategy"]
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        set_default(strategy, rollingUpdate={})
        set_default(strategy["rollingUpdate"], maxUnavailable=_QUARTER, maxSurge=_QUARTER)
    default_template(spec)


def _deployment(spec: dict[str, Any], options: Options) -> list[Cause]:
    found: list[Cause] = []
    check_counts(spec, "spec", found, "replicas")
    selectable = check_selector(spec.get("selector"), "deployment", found)
    check_kept_pods(spec, "ReplicaSet", options, found, selectable=selectable)
    strategy = spec.get("strategy") or {}
    kind, rolling, path = strategy.get("type") or "", strategy.get("rollingUpdate"), "spec.strategy"
    if kind == "Recreate":
        if rolling is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            found.append(fields.forbidden(f"{path}.rollingUpdate", text))
    elif kind == "RollingUpdate":
        _rolling(f"{path}.rollingUpdate", rolling or {}, found)
    else:
        found.append(fields.unsupported(path, _shown(kind, rolling), _DEPLOYMENT))
    check_counts(spec, "spec", found, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        text = "must be greater than minReadySeconds"
        found.append(fields.invalid("spec.progressDeadlineSeconds", deadline, text))
    return found


def _shown(kind: str, rolling: dict[str, Any] | None) -> dict[str, Any]:
    """A strategy as messages show it: the internal type."""
    if rolling is None:
        return {"Type": kind, "RollingUpdate": None}
    whole = {"MaxUnavailable": rolling.get("maxUnavailable") or 0, "MaxSurge": rolling.get("maxSurge") or 0}
    return {"Type": kind, "RollingUpdate": whole}


def _rolling(path: str, rolling: dict[str, Any], found: list[Cause]) -> None:
    unavailable, more = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    found += number_or_percent(f"{path}.maxUnavailable", unavailable)
    found += number_or_percent(f"{path}.maxSurge", more)
    if _nothing(unavailable) and _nothing(more):
        text = "may not be 0 when `maxSurge` is 0"
        found.append(fields.invalid(f"{path}.maxUnavailable", unavailable, text))
    found += at_most_all(f"{path}.maxUnavailable", unavailable)


def _same_selector(new: Object, old: Object) -> list[Cause]:
    selector = at(new, "spec.selector")
    return [] if selector == at(old, "spec.selector") else [fields.immutable("spec.selector", shown(selector))]


def _nothing(value: Any) -> bool:
    """Whether a number or a share is none at all; what is neither counts as none."""
    if isinstance(value, str):
        return (intstr.percent(value) or 0) == 0
    return not value


def _keep_labels(new: Object, old: Object) -> None:
    """A deployment's labels are not written with its status."""
    new["metadata"].pop("labels", None)
    if labels := (old.get("metadata") or {}).get("labels"):
        new["metadata"]["labels"] = labels


def _deployment_status(new: Object, old: Object) -> list[Cause]:
    status = new.get("status") or {}
    found: list[Cause] = []
    parts = ("updatedReplicas", "readyReplicas", "availableReplicas")
    more = ("unavailableReplicas", "terminatingReplicas", "collisionCount")
    check_counts(status, "status", found, "observedGeneration", "replicas", *parts, *more)
    check_not_more(status, found, parts)
    check_collisions(new, old, found)
    return found


# -- replica sets and replication controllers -------------------------------------------------------------------------


def _default_replicas(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, replicas=1)
    default_template(spec)


def _replica_set(spec: dict[str, Any], options: Options) -> list[Cause]:
    found: list[Cause] = []
    check_counts(spec, "spec", found, "replicas", "minReadySeconds")
    selectable = check_selector(spec.get("selector"), "deployment", found)
    check_kept_pods(spec, "ReplicaSet", options, found, selectable=selectable)
    return found


def _replicas_status(new: Object, old: Object) -> list[Cause]:
    status = new.get("status") or {}
    found: list[Cause] = []
    parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    check_counts(status, "status", found, "replicas", *parts, "observedGeneration", "terminatingReplicas")
    check_not_more(status, found, parts)
    return found


def _default_controller(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, replicas=1)
    if spec.get("template") is not None:
        default_template(spec)
    labels = at(obj, "spec.template.metadata.labels")
    if labels and not obj["spec"].get("selector"):
        obj["spec"]["selector"] = dict(labels)
    default_labels(obj)


def _controller(spec: dict[str, Any], options: Options) -> list[Cause]:
    found: list[Cause] = []
    check_counts(spec, "spec", found, "minReadySeconds")
    selector, template = spec.get("selector") or {}, spec.get("template")
    if not selector:
        found.append(fields.required("spec.selector"))
    check_counts(spec, "spec", found, "replicas")
    if template is None:
        found.append(fields.required("spec.template"))
        return found
    labels = (template.get("metadata") or {}).get("labels")
    if selector and not from_map(selector).matches(labels or {}):
        text = "`selector` does not match template `labels`"
        found.append(fields.invalid("spec.template.metadata.labels", labels, text))
    found += validate_template("spec.template", template, options)
    check_always("spec.template", template, "ReplicationController", found)
    return found


# -- daemon sets ------------------------------------------------------------------------------------------------------


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
    # Once a field of the spec, which clients own that write without it, too.
    meta = metadata(obj)
    meta["annotations"] = {_TEMPLATE_GENERATION: "0", **(meta.get("annotations") or {})}


def _new_daemon(new: Object) -> None:
    drop_from_template(new)
    annotations = new["metadata"].setdefault("annotations", {})
    if not annotations.get(_TEMPLATE_GENERATION, "").isdecimal() or int(annotations[_TEMPLATE_GENERATION]) < 1:
        annotations[_TEMPLATE_GENERATION] = "1"


def _update_daemon(new: Object, old: Object) -> None:
    """Count the templates, in the annotation that once was a field."""
    drop_from_template(new, old)
    _count_templates(new, old)


def _count_templates(new: Object, old: Object) -> None:
    count = at(old, "metadata.annotations") or {}
    generation = int(count.get(_TEMPLATE_GENERATION) or "1")
    if at(new, "spec.template") != at(old, "spec.template"):
        generation += 1
    new["metadata"]["annotations"] = {
        **(new["metadata"].get("annotations") or {}),
        _TEMPLATE_GENERATION: str(generation),
    }


def _daemon_set(spec: dict[str, Any], options: Options) -> list[Cause]:
    selector, template = spec.get("selector"), spec.get("template") or {}
    found = validate_label_selector("spec.selector", selector)
    if is_usable(selector):
        check_selected("spec.template", selector, template, found)
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        found.append(fields.invalid("spec.selector", shown(selector), "empty selector is invalid for daemonset"))
    found += validate_template("spec.template", template, options)
    check_always("spec.template", template, "DaemonSet", found)
    check_counts(spec, "spec", found, "minReadySeconds")
    strategy = spec.get("updateStrategy") or {}
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if kind == "RollingUpdate":
        if rolling is None:
            found.append(fields.required("spec.updateStrategy.rollingUpdate"))
        else:
            _daemon_rolling("spec.updateStrategy.rollingUpdate", rolling, found)
    elif kind != "OnDelete":
        found.append(fields.unsupported("spec.updateStrategy", _shown(kind, rolling), _DAEMON))
    check_counts(spec, "spec", found, "revisionHistoryLimit")
    return found


def _daemon_rolling(path: str, rolling: dict[str, Any], found: list[Cause]) -> None:
    unavailable, more = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    found += number_or_percent(f"{path}.maxUnavailable", unavailable)
    found += number_or_percent(f"{path}.maxSurge", more)
    found += at_most_all(f"{path}.maxUnavailable", unavailable)
    found += at_most_all(f"{path}.maxSurge", more)
    if not _nothing(unavailable) and not _nothing(more):
        found.append(fields.invalid(f"{path}.maxSurge", more, "may not be set when maxUnavailable is non-zero"))
    elif _nothing(unavailable) and _nothing(more):
        found.append(fields.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))


def _daemon_status(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    check_counts(
        new.get("status") or {},
        "status",
        found,
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    )
    check_collisions(new, old, found)
    return found


def _check_daemon_update(new: Object, old: Object) -> list[Cause]:
    return _same_selector(new, old) + _daemon_set(new.get("spec") or {}, template_options(old))


# -- controller revisions ---------------------------------------------------------------------------------------------


def _revision(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    if (obj.get("revision") or 0) < 0:
        found.append(fields.invalid("revision", obj["revision"], "must be greater than or equal to 0"))
    return found


def _new_revision(obj: Object) -> list[Cause]:
    data = obj.get("data")
    if data is None:
        return [fields.required("data", "data is mandatory")]
    return [] if isinstance(data, dict) else [fields.required("data", _DATA)]


def _check_revision_update(new: Object, old: Object) -> list[Cause]:
    found = _revision(new)
    return found if new.get("data") == old.get("data") else [*found, fields.immutable("data", new.get("data"))]


def _replicas(obj: Object) -> str:
    return as_field(at(obj, "status.replicas") or 0)


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    replicas = {"status.replicas": _replicas}
    warn, warn_named = template_warner(), template_warner(named=True)

    def apps(kind: str) -> GVK:
        return GVK("apps", "v1", kind)

    return {
        apps("Deployment"): Rules(
            default=_default_deployment,
            on_create=drop_from_template,
            on_update=drop_from_template,
            validate=lambda obj: _deployment(obj.get("spec") or {}, TEMPLATE),
            check_update=lambda new, old: (
                _deployment(new.get("spec") or {}, template_options(old)) + _same_selector(new, old)
            ),
            validate_status=_deployment_status,
            prepare_status=_keep_labels,
            counts_annotations=True,
            warn=warn_named,
            has_status=True,
            has_generation=True,
        ),
        apps("ReplicaSet"): Rules(
            default=_default_replicas,
            on_create=drop_from_template,
            on_update=drop_from_template,
            validate=lambda obj: _replica_set(obj.get("spec") or {}, TEMPLATE),
            check_update=lambda new, old: (
                _replica_set(new.get("spec") or {}, template_options(old)) + _same_selector(new, old)
            ),
            validate_status=_replicas_status,
            warn=warn_named,
            has_status=True,
            has_generation=True,
            fields=replicas,
        ),
        apps("DaemonSet"): Rules(
            default=_default_daemon,
            on_create=_new_daemon,
            on_update=_update_daemon,
            validate=lambda obj: _daemon_set(obj.get("spec") or {}, TEMPLATE),
            check_update=_check_daemon_update,
            validate_status=_daemon_status,
            prepare_status=_count_templates,
            warn=warn,
            has_status=True,
            has_generation=True,
        ),
        apps("ControllerRevision"): Rules(
            validate=_revision,
            validate_create=_new_revision,
            check_update=_check_revision_update,
            revalidates=True,
        ),
        GVK("", "v1", "ReplicationController"): Rules(
            default=_default_controller,
            on_create=drop_from_template,
            on_update=drop_from_template,
            validate=lambda obj: _controller(obj.get("spec") or {}, TEMPLATE),
            check_update=lambda new, old: _controller(new.get("spec") or {}, template_options(old)),
            validate_status=_replicas_status,
            prepare_status=default_labels,
            warn=lambda new, old: warn_named(new, old) if old is None else [],
            has_status=True,
            has_generation=True,
            fields=replicas,
        ),
    }
