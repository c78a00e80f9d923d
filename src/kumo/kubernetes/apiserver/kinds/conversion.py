"""Conversion between two served forms of one kind: events (core and events.k8s.io), autoscalers (v1 and v2).

Each function takes an object of one form and gives a new one of the other; `converters` says which belong to a kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.rules import at

Convert = Callable[[Object], Object]

_EVENT_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
_ANNOTATION = "autoscaling.alpha.kubernetes.io/"
_METRICS, _CURRENT = _ANNOTATION + "metrics", _ANNOTATION + "current-metrics"
_CONDITIONS, _BEHAVIOR = _ANNOTATION + "conditions", _ANNOTATION + "behavior"


def converters(gvk: GVK) -> tuple[Convert, Convert] | None:
    """(to the stored form, from the stored form) of a kind that is stored in another; None for all others."""
    return {
        GVK("events.k8s.io", "v1", "Event"): (event_to_core, event_from_core),
        GVK("autoscaling", "v1", "HorizontalPodAutoscaler"): (autoscaler_to_v2, autoscaler_to_v1),
    }.get(gvk)


def event_to_core(event: Object) -> Object:
    """The core event that an events.k8s.io/v1 event is stored as."""
    renamed = {_EVENT_NAMES.get(key, key): value for key, value in event.items()}
    return {**renamed, "apiVersion": "v1", "kind": "Event"}


def event_from_core(event: Object) -> Object:
    """The events.k8s.io/v1 form of a core event."""
    names = {theirs: ours for ours, theirs in _EVENT_NAMES.items()}
    renamed = {names.get(key, key): value for key, value in event.items()}
    return {**renamed, "apiVersion": "events.k8s.io/v1", "kind": "Event"}


def _is_cpu(metric: dict[str, Any]) -> bool:
    wanted = at(metric, "resource.target.averageUtilization")
    return metric.get("type") == "Resource" and at(metric, "resource.name") == "cpu" and wanted is not None


def autoscaler_to_v2(obj: Object) -> Object:
    """The v2 autoscaler of a v1 one: the cpu target as a metric, the rest out of annotations."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj.get("metadata") or {})
    annotations = dict(meta.get("annotations") or {})
    metrics = json.loads(annotations.pop(_METRICS, "[]"))
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        goal = {"type": "Utilization", "averageUtilization": target}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": goal}})
    if metrics:
        spec["metrics"] = metrics
    if _BEHAVIOR in annotations:
        spec["behavior"] = json.loads(annotations.pop(_BEHAVIOR))
    current = json.loads(annotations.pop(_CURRENT, "[]"))
    used = status.pop("currentCPUUtilizationPercentage", None)
    if used is not None:
        now = {"averageUtilization": used, "averageValue": "0"}
        current.insert(0, {"type": "Resource", "resource": {"name": "cpu", "current": now}})
    if current:
        status["currentMetrics"] = current
    if _CONDITIONS in annotations:
        status["conditions"] = json.loads(annotations.pop(_CONDITIONS))
    return _autoscaler("autoscaling/v2", meta, annotations, spec, status)


def autoscaler_to_v1(obj: Object) -> Object:
    """The v1 autoscaler of a v2 one: what v1 has no field for goes into annotations."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj.get("metadata") or {})
    annotations = dict(meta.get("annotations") or {})
    metrics = list(spec.pop("metrics", None) or ())
    cpu = next((m for m in metrics if _is_cpu(m)), None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"]
        metrics.remove(cpu)
    current = list(status.pop("currentMetrics", None) or ())
    used = next((m for m in current if at(m, "resource.name") == "cpu"), None)
    if used is not None:
        utilization = at(used, "resource.current.averageUtilization")
        if utilization is not None:
            status["currentCPUUtilizationPercentage"] = utilization
            current.remove(used)
    kept = {
        _METRICS: metrics,
        _CURRENT: current,
        _CONDITIONS: status.pop("conditions", None),
        _BEHAVIOR: spec.pop("behavior", None),
    }
    annotations |= {key: json.dumps(value, separators=(",", ":")) for key, value in kept.items() if value}
    return _autoscaler("autoscaling/v1", meta, annotations, spec, status)


def _autoscaler(
    version: str, meta: dict[str, Any], annotations: dict[str, str], spec: dict[str, Any], status: dict[str, Any]
) -> Object:
    meta.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    made: Object = {"apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": spec}
    if status:
        made["status"] = status
    return made
