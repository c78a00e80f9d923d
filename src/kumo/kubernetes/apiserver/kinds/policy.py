"""Disruption budgets, flow control, and device claims."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import (
    at_most_all,
    number_or_percent,
    set_default,
)
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_EVICTIONS = ("AlwaysAllow", "IfHealthyBudget")


def _validate_budget(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    found: list[Cause] = []
    if least is not None and most is not None:
        detail = "minAvailable and maxUnavailable cannot be both set"
        internal = {
            "MinAvailable": least,
            "Selector": spec.get("selector"),
            "MaxUnavailable": most,
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        found.append(fields.invalid("spec", internal, detail))
    for key, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            found += number_or_percent(f"spec.{key}", value) + at_most_all(f"spec.{key}", value)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _EVICTIONS:
        found.append(fields.unsupported("spec.unhealthyPodEvictionPolicy", policy, _EVICTIONS))
    return found + validate_label_selector("spec.selector", spec.get("selector"))


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

    return {
        GVK("policy", "v1", "PodDisruptionBudget"): Rules(
            validate=_validate_budget,
            check_name=names.check_path_segment,  # Upstream does not look at a budget's metadata.
            any_finalizer=True,
            has_status=True,
            has_generation=True,
        ),
        devices("ResourceClaim"): Rules(default=_default_claim, validate_update=_claim_stays, has_status=True),
        devices("ResourceClaimTemplate"): Rules(default=_default_claim_template, validate_update=_claim_stays),
        devices("DeviceClass"): Rules(has_generation=True),
        devices("ResourceSlice"): Rules(
            has_generation=True, fields={"spec.nodeName": "spec.nodeName", "spec.driver": "spec.driver"}
        ),
    }
