"""Columns of workloads: apps, batch, autoscaling, policy."""

from __future__ import annotations

from typing import Any

from kumo.api.conditions import is_true
from kumo.api.objects import Object, controller_of, parse_timestamp
from kumo.kubernetes.apiserver.tables.cells import (
    NONE,
    age,
    boolean,
    containers,
    label_selector,
    labels,
    name,
    number,
    part,
    text,
)
from kumo.kubernetes.apiserver.tables.columns import Columns, columns
from kumo.kubernetes.apiserver.tables.duration import human_duration, since

_WIDE = "+Containers|+Images|+Selector"


def _deployment(obj: Object, now: float) -> list[Any]:
    return [
        name(obj),
        f"{number(obj, 'status', 'readyReplicas')}/{number(obj, 'spec', 'replicas')}",
        number(obj, "status", "updatedReplicas"),
        number(obj, "status", "availableReplicas"),
        age(obj, now),
        *containers(part(obj, "spec", "template")),
        label_selector(part(obj, "spec", "selector")),
    ]


def _replicas(obj: Object, now: float) -> list[Any]:
    selector = part(obj, "spec", "selector")
    shown = labels(selector) if obj.get("kind") == "ReplicationController" else label_selector(selector)
    return [
        name(obj),
        number(obj, "spec", "replicas"),
        number(obj, "status", "replicas"),
        number(obj, "status", "readyReplicas"),
        age(obj, now),
        *containers(part(obj, "spec", "template")),
        shown,
    ]


def _daemon_set(obj: Object, now: float) -> list[Any]:
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    return [
        name(obj),
        *(number(obj, "status", c) for c in (*counts, "numberAvailable")),
        labels(part(obj, "spec", "template", "spec", "nodeSelector")),
        age(obj, now),
        *containers(part(obj, "spec", "template")),
        label_selector(part(obj, "spec", "selector")),
    ]


def _stateful_set(obj: Object, now: float) -> list[Any]:
    ready = f"{number(obj, 'status', 'readyReplicas')}/{number(obj, 'spec', 'replicas')}"
    return [name(obj), ready, age(obj, now), *containers(part(obj, "spec", "template"))]


def _job(obj: Object, now: float) -> list[Any]:
    done, wanted = number(obj, "status", "succeeded"), part(obj, "spec", "completions")
    if wanted is not None:
        completions = f"{done}/{wanted}"
    else:
        parallel = number(obj, "spec", "parallelism")
        completions = f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"
    started, ended = part(obj, "status", "startTime"), part(obj, "status", "completionTime")
    duration = ""
    if started:
        duration = human_duration((parse_timestamp(ended) if ended else now) - parse_timestamp(started))
    return [
        name(obj),
        _job_status(obj),
        completions,
        duration,
        age(obj, now),
        *containers(part(obj, "spec", "template")),
        label_selector(part(obj, "spec", "selector")),
    ]


def _job_status(obj: Object) -> str:
    for kind in ("Complete", "Failed"):
        if is_true(obj, kind):
            return kind
    if part(obj, "metadata", "deletionTimestamp"):
        return "Terminating"
    return next((k for k in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if is_true(obj, k)), "Running")


def _cron_job(obj: Object, now: float) -> list[Any]:
    last = part(obj, "status", "lastScheduleTime")
    template = part(obj, "spec", "jobTemplate", "spec") or {}
    return [
        name(obj),
        text(obj, "spec", "schedule"),
        text(obj, "spec", "timeZone", missing=NONE),
        boolean(part(obj, "spec", "suspend")),
        len(part(obj, "status", "active") or ()),
        since(last, now) if last else NONE,
        age(obj, now),
        *containers(template.get("template")),
        label_selector(template.get("selector")),
    ]


def _controller_revision(obj: Object, now: float) -> list[Any]:
    owner = controller_of(obj)
    shown = NONE
    if owner is not None:
        group = str(owner.get("apiVersion") or "").rpartition("/")[0]
        kind = str(owner.get("kind") or "").lower()
        shown = f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return [name(obj), shown, number(obj, "revision"), age(obj, now)]


def _autoscaler(obj: Object, now: float) -> list[Any]:
    target = part(obj, "spec", "scaleTargetRef") or {}
    minimum = part(obj, "spec", "minReplicas")
    return [
        name(obj),
        f"{target.get('kind')}/{target.get('name')}",
        _targets(obj),
        "<unset>" if minimum is None else str(minimum),
        number(obj, "spec", "maxReplicas"),
        number(obj, "status", "currentReplicas"),
        age(obj, now),
    ]


def _targets(obj: Object) -> str:
    wanted = part(obj, "spec", "metrics") or ()
    if not wanted:
        return NONE
    current = part(obj, "status", "currentMetrics") or ()
    shown = [_target(metric, current[i] if i < len(current) else {}) for i, metric in enumerate(wanted)]
    return ", ".join(shown[:2]) + (f" + {len(shown) - 2} more..." if len(shown) > 2 else "")


def _target(metric: Object, current: Object) -> str:
    kind = str(metric.get("type") or "")
    key = kind[:1].lower() + kind[1:]
    source, now = metric.get(key) or {}, part(current, key, "current") or {}
    label = f"{source['name']}: " if kind in ("Resource", "ContainerResource") and "name" in source else ""
    target = source.get("target") or {}
    mark = "" if label or kind == "Pods" else " (avg)"
    for field, unit, average in (("averageUtilization", "%", ""), ("averageValue", "", mark), ("value", "", "")):
        if target.get(field) is not None:
            found = now.get(field)
            shown = "<unknown>" if found is None else f"{found}{unit}"
            return f"{label}{shown}/{target[field]}{unit}{average}"
    return "<auto>"


def _disruption_budget(obj: Object, now: float) -> list[Any]:
    return [
        name(obj),
        text(obj, "spec", "minAvailable", missing="N/A"),
        text(obj, "spec", "maxUnavailable", missing="N/A"),
        number(obj, "status", "disruptionsAllowed"),
        age(obj, now),
    ]


def _scale(obj: Object, now: float) -> list[Any]:
    return [name(obj), number(obj, "spec", "replicas"), number(obj, "status", "replicas"), age(obj, now)]


def tables() -> dict[str, Columns]:
    """The columns by resource and group."""
    replicas = "Name|#Desired|#Current|#Ready|Age|" + _WIDE
    return {
        "deployments.apps": columns("Name|Ready|Up-to-date|Available|Age|" + _WIDE, _deployment),
        "replicasets.apps": columns(replicas, _replicas),
        "replicationcontrollers": columns(replicas, _replicas),
        "daemonsets.apps": columns(
            "Name|#Desired|#Current|#Ready|#Up-to-date|#Available|Node Selector|Age|" + _WIDE, _daemon_set
        ),
        "statefulsets.apps": columns("Name|Ready|Age|+Containers|+Images", _stateful_set),
        "jobs.batch": columns("Name|Status|Completions|Duration|Age|" + _WIDE, _job),
        "cronjobs.batch": columns("Name|Schedule|Timezone|?Suspend|#Active|Last Schedule|Age|" + _WIDE, _cron_job),
        "controllerrevisions.apps": columns("Name|Controller|Revision|Age", _controller_revision),
        "horizontalpodautoscalers.autoscaling": columns(
            "Name|Reference|Targets|MinPods|MaxPods|Replicas|Age", _autoscaler
        ),
        "scales.autoscaling": columns("Name|#Desired|#Available|Age", _scale),
        "poddisruptionbudgets.policy": columns(
            "Name|Min Available|Max Unavailable|#Allowed Disruptions|Age", _disruption_budget
        ),
    }
