"""Validation of where a pod may run: node selectors, affinity, tolerations, topology spread."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector, validate_requirement

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_POD_AFFINITY = ("podAffinity", "podAntiAffinity")
_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def validate_tolerations(path: str, tolerations: Any) -> list[Cause]:
    """A pod's tolerations."""
    found: list[Cause] = []
    for index, item in enumerate(tolerations):
        here = f"{path}[{index}]"
        key, operator, value = item.get("key") or "", item.get("operator") or "", item.get("value") or ""
        if key:
            found += fields.each(f"{here}.key", key, names.check_qualified_name(key))
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(fields.invalid(f"{here}.operator", operator, detail))
        if item.get("tolerationSeconds") is not None and item.get("effect") != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(fields.invalid(f"{here}.effect", item.get("effect") or "", detail))
        if operator in ("", "Equal"):
            if wrong := names.check_label_value(value):
                found.append(fields.invalid(f"{here}.operator", value, ";".join(wrong)))
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                found.append(fields.invalid(f"{here}.operator", item, detail))
        elif operator not in ("Lt", "Gt"):
            found.append(fields.unsupported(f"{here}.operator", operator, ("Equal", "Exists")))
        if item.get("effect") and item["effect"] not in _EFFECTS:
            found.append(fields.unsupported(f"{here}.effect", item["effect"], _EFFECTS))
    return found


def validate_affinity(path: str, affinity: dict[str, Any] | None) -> list[Cause]:
    """A pod's affinity."""
    found: list[Cause] = []
    if not affinity:
        return found
    node = affinity.get("nodeAffinity") or {}
    required = node.get(_REQUIRED)
    if required is not None:
        found += validate_node_selector(f"{path}.nodeAffinity.{_REQUIRED}", required)
    for index, item in enumerate(node.get(_PREFERRED) or ()):
        here = f"{path}.nodeAffinity.{_PREFERRED}[{index}]"
        found += _weight(here, item)
        found += _node_term(f"{here}.preference", item.get("preference") or {})
    for kind in _POD_AFFINITY:
        terms = affinity.get(kind) or {}
        for index, term in enumerate(terms.get(_REQUIRED) or ()):
            found += _pod_term(f"{path}.{kind}.{_REQUIRED}[{index}]", term)
        for index, item in enumerate(terms.get(_PREFERRED) or ()):
            here = f"{path}.{kind}.{_PREFERRED}[{index}]"
            found += _weight(here, item)
            found += _pod_term(f"{here}.podAffinityTerm", item.get("podAffinityTerm") or {})
    return found


def _weight(path: str, item: dict[str, Any]) -> list[Cause]:
    weight = item.get("weight") or 0
    return [] if 1 <= weight <= 100 else [fields.invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def validate_node_selector(path: str, selector: dict[str, Any]) -> list[Cause]:
    """A `NodeSelector`: terms, of which one must hold."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [fields.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [c for i, term in enumerate(terms) for c in _node_term(f"{path}.nodeSelectorTerms[{i}]", term)]


def _node_term(path: str, term: dict[str, Any]) -> list[Cause]:
    return [
        cause
        for index, item in enumerate(term.get("matchExpressions") or ())
        for cause in validate_requirement(f"{path}.matchExpressions[{index}]", item, numbers=True)
    ]


def _pod_term(path: str, term: dict[str, Any]) -> list[Cause]:
    found = validate_label_selector(f"{path}.labelSelector", term.get("labelSelector"))
    key = term.get("topologyKey") or ""
    if not key:
        found.append(fields.required(f"{path}.topologyKey", "can not be empty"))
    else:
        found += fields.each(f"{path}.topologyKey", key, names.check_qualified_name(key))
    for namespace in term.get("namespaces") or ():
        found += fields.each(f"{path}.namespace", namespace, names.check_label(namespace))
    return found


def validate_spread(path: str, constraints: Any) -> list[Cause]:
    """A pod's topology spread constraints."""
    found: list[Cause] = []
    for index, item in enumerate(constraints):
        here = f"{path}[{index}]"
        skew = item.get("maxSkew") or 0
        if skew <= 0:
            found.append(fields.invalid(f"{here}.maxSkew", skew, "must be greater than zero"))
        if not item.get("topologyKey"):
            found.append(fields.required(f"{here}.topologyKey", "can not be empty"))
        action = item.get("whenUnsatisfiable") or ""
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            supported = ("DoNotSchedule", "ScheduleAnyway")
            found.append(fields.unsupported(f"{here}.whenUnsatisfiable", action, supported))
        found += validate_label_selector(f"{here}.labelSelector", item.get("labelSelector"))
    return found
