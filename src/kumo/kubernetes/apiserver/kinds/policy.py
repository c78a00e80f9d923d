"""Disruption budgets."""

from __future__ import annotations

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import (
    at_most_all,
    not_negative,
    number_or_percent,
)
from kumo.kubernetes.apiserver.kinds.conditions import validate_conditions
from kumo.kubernetes.apiserver.kinds.rules import Rules
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
    found += validate_label_selector("spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _EVICTIONS:
        found.append(fields.unsupported("spec.unhealthyPodEvictionPolicy", policy, _EVICTIONS))
    return found


def _validate_status(new: Object, old: Object) -> list[Cause]:
    status = new.get("status") or {}
    found = validate_conditions("status.conditions", status.get("conditions"))
    return found + not_negative(
        status, "status", "disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"
    )


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    return {
        GVK("policy", "v1", "PodDisruptionBudget"): Rules(
            validate=_validate_budget,
            check_name=names.check_path_segment,  # Upstream does not look at a budget's metadata.
            any_finalizer=True,
            unconditional_update=False,
            validate_status=_validate_status,
            has_status=True,
            has_generation=True,
        ),
    }
