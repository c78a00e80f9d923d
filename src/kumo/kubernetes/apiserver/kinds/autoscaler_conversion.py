"""Autoscalers of autoscaling/v1 and v2: one form is stored (v2), the other is made of it without loss.

What v1 has no field for stands in annotations: metrics and conditions in v1's own older types, the behavior in
upstream's internal ones.
"""

from __future__ import annotations

import json
from typing import Any

from kumo.api.objects import Object, metadata
from kumo.kubernetes.apiserver.kinds.rules import at

_ANNOTATION = "autoscaling.alpha.kubernetes.io/"
_METRICS, _CURRENT = _ANNOTATION + "metrics", _ANNOTATION + "current-metrics"
_CONDITIONS, _BEHAVIOR = _ANNOTATION + "conditions", _ANNOTATION + "behavior"
ROUND_TRIP = (
    _METRICS,
    _CURRENT,
    _CONDITIONS,
    _BEHAVIOR,
    _ANNOTATION + "tolerance-scale-down",
    _ANNOTATION + "tolerance-scale-up",
)
"""The annotations that only carry what the other form has fields for; nobody else may set them."""
DEFAULT_UTILIZATION = 80
_KINDS = ("object", "pods", "resource", "containerResource", "external")
_BEHAVIOR_KEYS = ("stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance")
_POLICY_KEYS = ("type", "value", "periodSeconds")


def cpu_metric(utilization: int) -> dict[str, Any]:
    """The v2 metric that v1's `targetCPUUtilizationPercentage` stands for."""
    target = {"averageUtilization": utilization, "type": "Utilization"}
    return {"resource": {"name": "cpu", "target": target}, "type": "Resource"}


def _is_cpu(metric: Any) -> bool:
    wanted = at(metric, "resource.target.averageUtilization")
    return metric.get("type") == "Resource" and at(metric, "resource.name") == "cpu" and wanted is not None


def has_metrics(obj: Object) -> bool:
    """Whether a v1 autoscaler says by what to scale, in its field or in an annotation."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return at(obj, "spec.targetCPUUtilizationPercentage") is not None or bool(_items(annotations, _METRICS))


def keep_status(new: Object, old: Object) -> None:
    """A v1 autoscaler's annotations that stand for its status stay as they were; in place."""
    _keep(new, old, _CURRENT, _CONDITIONS)


def keep_spec(new: Object, old: Object) -> None:
    """A v1 autoscaler's annotations that stand for its spec stay as they were; in place."""
    _keep(new, old, _METRICS, _BEHAVIOR)


def _keep(new: Object, old: Object, *keys: str) -> None:
    stale = (old.get("metadata") or {}).get("annotations") or {}
    fresh = dict((new.get("metadata") or {}).get("annotations") or {})
    for key in keys:
        fresh.pop(key, None)
        if key in stale:
            fresh[key] = stale[key]
    meta = metadata(new)
    meta.pop("annotations", None)
    if fresh:
        meta["annotations"] = fresh


def autoscaler_to_v2(obj: Object) -> Object:
    """The v2 autoscaler of a v1 one: the cpu target as a metric, the rest out of annotations."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj.get("metadata") or {})
    annotations = dict(meta.get("annotations") or {})
    target = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = [_metric_to_v2(metric, "target") for metric in _items(annotations, _METRICS)]
    if target is not None:
        metrics.append(cpu_metric(target))
    spec["metrics"] = metrics or [cpu_metric(DEFAULT_UTILIZATION)]
    behavior = _behavior_to_v2(_read(annotations, _BEHAVIOR))
    if behavior:
        spec["behavior"] = behavior
    used = status.pop("currentCPUUtilizationPercentage", None)
    current = [_metric_to_v2(metric, "current") for metric in _items(annotations, _CURRENT)]
    if not current and used is not None:
        current = [{"resource": {"current": {"averageUtilization": used}, "name": "cpu"}, "type": "Resource"}]
    if status or current or _CONDITIONS in annotations:
        status["currentMetrics"] = current or None
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    if conditions := _items(annotations, _CONDITIONS):
        status["conditions"] = conditions
    return _autoscaler("autoscaling/v2", meta, annotations, spec, status)


def autoscaler_to_v1(obj: Object) -> Object:
    """The v1 autoscaler of a v2 one: what v1 has no field for goes into annotations."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj.get("metadata") or {})
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in ROUND_TRIP}
    metrics = list(spec.pop("metrics", None) or ())
    cpu = next((m for m in metrics if _is_cpu(m)), None)
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"]
    current = list(status.pop("currentMetrics", None) or ())
    for metric in current:
        used = at(metric, "resource.current.averageUtilization")
        if at(metric, "resource.name") == "cpu" and used is not None:
            status["currentCPUUtilizationPercentage"] = used
    if status:
        status.setdefault("currentReplicas", 0)
        status.setdefault("desiredReplicas", 0)
    conditions, behavior = status.pop("conditions", None) or (), spec.pop("behavior", None)
    kept: dict[str, Any] = {
        _METRICS: [_metric_to_v1(m, "target") for m in metrics if not _is_cpu(m)],
        _CURRENT: [_metric_to_v1(m, "current") for m in current],
        _BEHAVIOR: _behavior_to_v1(behavior) if behavior is not None else None,
        _CONDITIONS: [_condition(condition) for condition in conditions],
    }
    annotations |= {key: _text(value) for key, value in kept.items() if value}
    return _autoscaler("autoscaling/v1", meta, annotations, spec, status)


def _text(value: Any) -> str:
    found = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return found.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _read(annotations: dict[str, str], key: str) -> Any:
    """What an annotation says; None for one that is missing or is no JSON, which is ignored."""
    try:
        return json.loads(annotations.get(key) or "null")
    except ValueError:
        return None


def _items(annotations: dict[str, str], key: str) -> list[dict[str, Any]]:
    found = _read(annotations, key)
    return found if isinstance(found, list) and all(isinstance(item, dict) for item in found) else []


def _condition(condition: dict[str, Any]) -> dict[str, Any]:
    found = {key: condition.get(key) or "" for key in ("type", "status")}
    found["lastTransitionTime"] = condition.get("lastTransitionTime")
    return found | {key: condition[key] for key in ("reason", "message") if condition.get(key)}


def _metric_to_v1(metric: dict[str, Any], part: str) -> dict[str, Any]:
    """A metric (`part` is `target`) or its present value (`current`) in the older types."""
    found: dict[str, Any] = {"type": metric.get("type") or ""}
    for kind in _KINDS:
        source = metric.get(kind)
        if source is not None:
            found[kind] = _source_to_v1(kind, source, source.get(part) or {}, part)
    return found


def _source_to_v1(kind: str, source: dict[str, Any], amounts: dict[str, Any], part: str) -> dict[str, Any]:
    value, average = amounts.get("value"), amounts.get("averageValue")
    if kind in ("resource", "containerResource"):
        least = "0" if part == "current" else None
        found = {
            "name": source.get("name") or "",
            f"{part}AverageUtilization": amounts.get("averageUtilization"),
            f"{part}AverageValue": average if average is not None else least,
        }
        if kind == "containerResource":
            found["container"] = source.get("container") or ""
        return _said(found)
    metric = source.get("metric") or {}
    name, selector = metric.get("name") or "", metric.get("selector")
    if kind == "object":
        described = source.get("describedObject") or {}
        target = {key: described.get(key) or "" for key in ("kind", "name")}
        if described.get("apiVersion"):
            target["apiVersion"] = described["apiVersion"]
        amount = value if value is not None else "0"
        found = {"target": target, "metricName": name, f"{part}Value": amount}
        return _said(found | {"selector": selector, "averageValue": average})
    if kind == "pods":
        amount = average if average is not None else "0"
        return _said({"metricName": name, f"{part}AverageValue": amount, "selector": selector})
    amount = "0" if value is None and part == "current" else value
    found = {"metricName": name, "metricSelector": selector, f"{part}Value": amount}
    return _said(found | {f"{part}AverageValue": average})


def _said(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value is not None}


def _metric_to_v2(metric: dict[str, Any], part: str) -> dict[str, Any]:
    found: dict[str, Any] = {"type": metric.get("type") or ""}
    for kind in _KINDS:
        source = metric.get(kind)
        if isinstance(source, dict):
            found[kind] = _source_to_v2(kind, source, part)
    return found


def _source_to_v2(kind: str, source: dict[str, Any], part: str) -> dict[str, Any]:
    average = source.get("averageValue" if kind == "object" else f"{part}AverageValue")
    value, used = source.get(f"{part}Value"), source.get(f"{part}AverageUtilization")
    zero = part == "target" and kind == "object" and average is not None and value in ("0", 0)
    amounts = _said({"value": None if zero else value, "averageValue": average, "averageUtilization": used})
    if part == "target":
        amounts["type"] = "Utilization" if used is not None else "AverageValue"
        if (kind == "object" and average is None) or (kind == "external" and value is not None):
            amounts["type"] = "Value"
    if kind in ("resource", "containerResource"):
        named: dict[str, Any] = {key: source[key] for key in ("name", "container") if key in source}
        return named | {part: amounts}
    metric: dict[str, Any] = {"name": source.get("metricName") or ""}
    selector = source.get("metricSelector" if kind == "external" else "selector")
    if selector is not None:
        metric["selector"] = selector
    found = {"metric": metric, part: amounts}
    return {"describedObject": source.get("target") or {}, **found} if kind == "object" else found


def _behavior_to_v1(behavior: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("scaleUp", "scaleDown"):
        rules = behavior.get(key)
        if rules is None:
            found[_upper(key)] = None
            continue
        shown: dict[str, Any] = {_upper(k): rules.get(k) for k in _BEHAVIOR_KEYS}
        shown["Policies"] = [{_upper(k): p.get(k) for k in _POLICY_KEYS} for p in rules.get("policies") or ()] or None
        found[_upper(key)] = shown
    return found


def _behavior_to_v2(found: Any) -> dict[str, Any]:
    """The behavior of an annotation, whose names may be written large or small."""
    if not isinstance(found, dict):
        return {}
    behavior: dict[str, Any] = {}
    for key, rules in found.items():
        if not isinstance(rules, dict):
            continue
        said = {_lower(k): v for k, v in rules.items() if v is not None}
        policies = said.get("policies")
        if isinstance(policies, list):
            said["policies"] = [{_lower(k): v for k, v in p.items()} for p in policies if isinstance(p, dict)]
        behavior[_lower(key)] = said
    return behavior


def _upper(name: str) -> str:
    return name[0].upper() + name[1:]


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _autoscaler(
    version: str, meta: dict[str, Any], annotations: dict[str, str], spec: dict[str, Any], status: dict[str, Any]
) -> Object:
    meta.pop("annotations", None)
    if version == "autoscaling/v2":
        annotations = {key: value for key, value in annotations.items() if key not in ROUND_TRIP}
    if annotations:
        meta["annotations"] = annotations
    made: Object = {"apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": spec}
    if status:
        made["status"] = status
    return made
