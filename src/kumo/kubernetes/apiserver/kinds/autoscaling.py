"""Horizontal pod autoscalers: defaults and rules, judged in the v2 form that both versions are stored in."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.autoscaler_conversion import (
    DEFAULT_UTILIZATION,
    ROUND_TRIP,
    autoscaler_to_v2,
    cpu_metric,
    has_metrics,
    keep_spec,
    keep_status,
)
from kumo.kubernetes.apiserver.kinds.checks import set_default, spec_of
from kumo.kubernetes.apiserver.kinds.pod.resources import check_container_resource
from kumo.kubernetes.apiserver.kinds.rules import Rules
from kumo.kubernetes.apiserver.kinds.workload_checks import check_counts

_PERCENT_15 = {"type": "Percent", "value": 100, "periodSeconds": 15}
_PODS_15 = {"type": "Pods", "value": 4, "periodSeconds": 15}
_METRICS = ("ContainerResource", "External", "Object", "Pods", "Resource")
_SOURCES = ("object", "external", "pods", "resource", "containerResource")
_LONGEST_WINDOW, _LONGEST_PERIOD = 3600, 1800


def _default(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, minReplicas=1)
    if not spec.get("metrics"):
        spec["metrics"] = [cpu_metric(DEFAULT_UTILIZATION)]
    if annotations := (obj.get("metadata") or {}).get("annotations"):
        for key in ROUND_TRIP:
            annotations.pop(key, None)
    behavior = spec.get("behavior")
    if behavior is not None:
        up = behavior.setdefault("scaleUp", {})
        set_default(up, stabilizationWindowSeconds=0, selectPolicy="Max")
        set_default(up, policies=[dict(_PODS_15), dict(_PERCENT_15)])
        down = behavior.setdefault("scaleDown", {})
        set_default(down, selectPolicy="Max", policies=[dict(_PERCENT_15)])


def _default_v1(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, minReplicas=1)
    if not has_metrics(obj):
        spec["targetCPUUtilizationPercentage"] = DEFAULT_UTILIZATION


def _validate(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    found: list[Cause] = []
    if least is not None and least < 1:
        found.append(fields.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most == 0:
        found.append(fields.required("spec.maxReplicas", "must be set and greater than 0"))
    elif most < 1:
        found.append(fields.invalid("spec.maxReplicas", most, "must be greater than or equal to 1"))
    if least is not None and most < least:
        found.append(fields.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    _check_reference("spec.scaleTargetRef", spec.get("scaleTargetRef") or {}, found, grouped=True)
    metrics = spec.get("metrics") or ()
    for index, metric in enumerate(metrics):
        _check_metric(f"spec.metrics[{index}]", metric, found)
    if least == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        text = "must specify at least one Object or External metric to support scaling to zero replicas"
        found.append(fields.forbidden("spec.metrics", text))
    behavior = spec.get("behavior") or {}
    for key in ("scaleUp", "scaleDown"):
        if behavior.get(key) is not None:
            _check_scaling(f"spec.behavior.{key}", behavior[key], found)
    return found


def _check_reference(path: str, reference: dict[str, Any], found: list[Cause], *, grouped: bool) -> None:
    for key in ("kind", "name"):
        value = reference.get(key) or ""
        if not value:
            found.append(fields.required(f"{path}.{key}"))
        else:
            found += fields.each(f"{path}.{key}", value, names.check_path_segment(value))
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        found.append(fields.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    elif grouped and not _group_of(version):
        found.append(fields.invalid(f"{path}.apiVersion", version, "apiVersion must specify API group"))


def _group_of(version: str) -> str:
    return version.partition("/")[0] if "/" in version else ""


def _check_scaling(path: str, rules: dict[str, Any], found: list[Cause]) -> None:
    window, select = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    if window is not None and window < 0:
        text = "must be greater than or equal to zero"
        found.append(fields.invalid(f"{path}.stabilizationWindowSeconds", window, text))
    if window is not None and window > _LONGEST_WINDOW:
        text = f"must be less than or equal to {_LONGEST_WINDOW}"
        found.append(fields.invalid(f"{path}.stabilizationWindowSeconds", window, text))
    if select is not None and select not in ("Disabled", "Max", "Min"):
        found.append(fields.unsupported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min")))
    if not rules.get("policies"):
        found.append(fields.required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.get("policies") or ()):
        here = f"{path}.policies[{index}]"
        if policy.get("type") not in ("Pods", "Percent"):
            found.append(fields.unsupported(f"{here}.type", policy.get("type") or "", ("Percent", "Pods")))
        for key in ("value", "periodSeconds"):
            if (policy.get(key) or 0) <= 0:
                found.append(fields.invalid(f"{here}.{key}", policy.get(key) or 0, "must be greater than zero"))
        if (policy.get("periodSeconds") or 0) > _LONGEST_PERIOD:
            text = f"must be less than or equal to {_LONGEST_PERIOD}"
            found.append(fields.invalid(f"{here}.periodSeconds", policy["periodSeconds"], text))
    tolerance = rules.get("tolerance")
    if tolerance is not None and quantities.parse(tolerance) < 0:
        text = "must be greater than or equal to 0"
        found.append(fields.invalid(f"{path}.tolerance", str(tolerance), text))


def _check_metric(path: str, metric: dict[str, Any], found: list[Cause]) -> None:
    kind = metric.get("type") or ""
    if not kind:
        found.append(fields.required(f"{path}.type", "must specify a metric source type"))
    if kind not in _METRICS:
        found.append(fields.unsupported(f"{path}.type", kind, _METRICS))
    present = [key for key in _SOURCES if metric.get(key) is not None]
    if present:
        _check_source(f"{path}.{present[0]}", present[0], metric[present[0]], found)
    expected = kind[0].lower() + kind[1:] if kind in _METRICS else ""
    if not expected:
        found.append(fields.unsupported(f"{path}.type", kind, _METRICS))
    elif expected not in present:
        text = "must populate information for the given metric source"
        found.append(fields.required(f"{path}.{expected}", text))
    if len(present) != 1:
        for key in present:
            if key != expected:
                found.append(fields.forbidden(f"{path}.{key}", "must populate the given metric source only"))


def _check_source(path: str, kind: str, source: dict[str, Any], found: list[Cause]) -> None:
    target, goal = source.get("target") or {}, f"{path}.target"
    value, average, used = (target.get(key) for key in ("value", "averageValue", "averageUtilization"))
    if kind == "object":
        _check_reference(f"{path}.describedObject", source.get("describedObject") or {}, found, grouped=False)
    if kind in ("object", "external", "pods"):
        name = (source.get("metric") or {}).get("name") or ""
        if not name:
            found.append(fields.required(f"{path}.metric.name", "must specify a metric name"))
        else:
            found += fields.each(f"{path}.metric.name", name, names.check_path_segment(name))
    elif not source.get("name"):
        found.append(fields.required(f"{path}.name", "must specify a resource name"))
    elif kind == "containerResource":
        found += check_container_resource(f"{path}.name", source["name"])
    if kind == "containerResource":
        container = source.get("container") or ""
        if not container:
            found.append(fields.required(f"{path}.container", "must specify a container"))
        else:
            found += fields.each(f"{path}.container", container, names.check_label(container))
    _check_target(goal, target, found)
    if kind == "object" and value is None and average is None:
        found.append(fields.required(f"{goal}.averageValue", "must set either a target value or averageValue"))
    elif kind == "external" and value is None and average is None:
        text = "must set either a target value for metric or a per-pod target"
        found.append(fields.required(f"{goal}.averageValue", text))
    elif kind == "external" and value is not None and average is not None:
        text = "may not set both a target value for metric and a per-pod target"
        found.append(fields.forbidden(f"{goal}.value", text))
    elif kind == "pods" and average is None:
        found.append(fields.required(f"{goal}.averageValue", "must specify a positive target averageValue"))
    elif kind in ("resource", "containerResource"):
        if used is None and average is None:
            text = "must set either a target raw value or a target utilization"
            found.append(fields.required(f"{goal}.averageUtilization", text))
        if used is not None and average is not None:
            text = "may not set both a target raw value and a target utilization"
            found.append(fields.forbidden(f"{goal}.averageValue", text))


def _check_target(path: str, target: dict[str, Any], found: list[Cause]) -> None:
    kind = target.get("type") or ""
    if not kind:
        found.append(fields.required(f"{path}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        text = "must be either Utilization, Value, or AverageValue"
        found.append(fields.invalid(f"{path}.type", kind, text))
    for key in ("value", "averageValue"):
        if target.get(key) is not None and quantities.parse(target[key]) <= 0:
            found.append(fields.invalid(f"{path}.{key}", str(target[key]), "must be positive"))
    used = target.get("averageUtilization")
    if used is not None and used < 1:
        found.append(fields.invalid(f"{path}.averageUtilization", used, "must be greater than 0"))


def _validate_status(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    check_counts(new.get("status") or {}, "status", found, "currentReplicas", "desiredReplicas")
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def autoscaler(version: str) -> GVK:
        return GVK("autoscaling", version, "HorizontalPodAutoscaler")

    return {
        autoscaler("v2"): Rules(
            default=_default, validate=_validate, validate_status=_validate_status, has_status=True
        ),
        autoscaler("v1"): Rules(
            default=_default_v1,
            on_create=lambda obj: keep_status(obj, {}),
            on_update=keep_status,
            prepare_status=keep_spec,
            validate=lambda obj: _validate(autoscaler_to_v2(obj)),
            validate_status=_validate_status,
            has_status=True,
        ),
    }
