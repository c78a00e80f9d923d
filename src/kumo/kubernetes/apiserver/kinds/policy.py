"""Disruption budgets, autoscalers, flow control, and device claims."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import (
    at_most_all,
    choice,
    needed,
    number_or_percent,
    set_default,
    spec_of,
)
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_CPU_TARGET = {"type": "Utilization", "averageUtilization": 80}
_PERCENT_15 = {"type": "Percent", "value": 100, "periodSeconds": 15}
_PODS_15 = {"type": "Pods", "value": 4, "periodSeconds": 15}


def _validate_budget(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    found: list[Cause] = []
    if least is not None and most is not None:
        detail = "minAvailable and maxUnavailable cannot be both set"
        found.append(fields.invalid("spec", spec, detail))
    for key, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            found += number_or_percent(f"spec.{key}", value) + at_most_all(f"spec.{key}", value)
    found += choice(
        "spec.unhealthyPodEvictionPolicy",
        spec.get("unhealthyPodEvictionPolicy"),
        ("AlwaysAllow", "IfHealthyBudget"),
        needed=False,
    )
    return found + validate_label_selector("spec.selector", spec.get("selector"))


def _default_autoscaler(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = dict(_CPU_TARGET)
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        up = behavior.setdefault("scaleUp", {})
        set_default(up, stabilizationWindowSeconds=0, selectPolicy="Max")
        set_default(up, policies=[dict(_PODS_15), dict(_PERCENT_15)])
        down = behavior.setdefault("scaleDown", {})
        set_default(down, selectPolicy="Max", policies=[dict(_PERCENT_15)])


def _validate_autoscaler(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    found: list[Cause] = []
    if least is not None and least < 1:
        found.append(fields.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(fields.invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        found.append(fields.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    found += needed(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", "kind", "name")
    kinds = ("ContainerResource", "External", "Object", "Pods", "Resource")
    for index, metric in enumerate(spec.get("metrics") or ()):
        here = f"spec.metrics[{index}]"
        kind = metric.get("type") or ""
        if not kind:
            found.append(fields.required(f"{here}.type", "must specify a metric source type"))
        elif kind not in kinds:
            found.append(fields.unsupported(f"{here}.type", kind, kinds))
        elif metric.get(kind[0].lower() + kind[1:]) is None:
            key = kind[0].lower() + kind[1:]
            found.append(fields.required(f"{here}.{key}", "must populate the given metric source"))
    return found


def _default_devices(devices: Any) -> None:
    for request in (devices or {}).get("requests") or ():
        for choice_ in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if choice_ is not None:
                set_default(choice_, allocationMode="ExactCount")
                if choice_["allocationMode"] == "ExactCount":
                    set_default(choice_, count=1)


def _default_claim(obj: Object) -> None:
    _default_devices(at(obj, "spec.devices"))


def _default_claim_template(obj: Object) -> None:
    _default_devices(at(obj, "spec.spec.devices"))


def _claim_stays(new: Object, old: Object) -> list[Cause]:
    if (new.get("spec") or {}) == (old.get("spec") or {}):
        return []
    return [fields.immutable("spec", new.get("spec"))]


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def devices(kind: str) -> GVK:
        return GVK("resource.k8s.io", "v1", kind)

    autoscaler = Rules(default=_default_autoscaler, validate=_validate_autoscaler, has_status=True)
    return {
        GVK("policy", "v1", "PodDisruptionBudget"): Rules(
            validate=_validate_budget, has_status=True, has_generation=True
        ),
        GVK("autoscaling", "v2", "HorizontalPodAutoscaler"): autoscaler,
        GVK("autoscaling", "v1", "HorizontalPodAutoscaler"): Rules(
            default=lambda obj: set_default(spec_of(obj), minReplicas=1), has_status=True
        ),
        devices("ResourceClaim"): Rules(default=_default_claim, validate_update=_claim_stays, has_status=True),
        devices("ResourceClaimTemplate"): Rules(default=_default_claim_template, validate_update=_claim_stays),
        devices("DeviceClass"): Rules(has_generation=True),
        devices("ResourceSlice"): Rules(
            has_generation=True, fields={"spec.nodeName": "spec.nodeName", "spec.driver": "spec.driver"}
        ),
    }
