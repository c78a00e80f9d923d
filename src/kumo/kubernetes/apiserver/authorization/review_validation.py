"""What is wrong with a review's specification (upstream's `pkg/apis/authorization/validation`). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object

_NEEDS_VALUES, _FORBIDS_VALUES = ("In", "NotIn"), ("Exists", "DoesNotExist")


def spec_faults(spec: Mapping[str, Any], *, about_user: bool) -> list[Cause]:
    """What is wrong with the specification; `about_user`: it must name one."""
    found: list[Cause] = []
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is None and other is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        found.append(Cause("spec.resourceAttributes", f"Invalid value: null: {detail}", "FieldValueInvalid"))
    if resource is not None and other is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        found.append(fields.invalid("spec.nonResourceAttributes", _shown(other), detail))
    if about_user and not spec.get("user") and not spec.get("groups"):
        found.append(fields.invalid("spec.user", "", "at least one of user or group must be specified"))
    for kind in ("fieldSelector", "labelSelector"):
        selector = (resource or {}).get(kind)
        if selector is not None:
            found += _selector_faults(selector, f"spec.resourceAttributes.{kind}", labels=kind == "labelSelector")
    return found


def metadata_faults(meta: Object, *, namespaced: bool) -> list[Cause]:
    """A review has no metadata of its own, but for the namespace of a local one."""
    ignored = ("managedFields", "namespace") if namespaced else ("managedFields",)
    if not any(value for key, value in meta.items() if key not in ignored):
        return []
    detail = "must be empty except for namespace" if namespaced else "must be empty"
    return [fields.invalid("metadata", meta, detail)]


def local_faults(namespace: str, spec: Mapping[str, Any]) -> list[Cause]:
    """What a review in a namespace may not ask."""
    found: list[Cause] = []
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    asked = (resource or {}).get("namespace") or ""
    if resource is not None and asked != namespace:
        found.append(fields.invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace"))
    if other is not None:
        found.append(fields.invalid("spec.nonResourceAttributes", _shown(other), "disallowed on this kind of request"))
    return found


def _shown(attributes: Mapping[str, Any]) -> Object:
    return {"Path": attributes.get("path") or "", "Verb": attributes.get("verb") or ""}


def _selector_faults(selector: Mapping[str, Any], where: str, *, labels: bool) -> list[Cause]:
    raw, requirements = selector.get("rawSelector") or "", selector.get("requirements") or []
    found: list[Cause] = []
    if raw and requirements:
        detail = "may not specified at the same time as requirements"
        found.append(fields.invalid(f"{where}.rawSelector", raw, detail))
    if not raw and not requirements:
        detail = f"when {where} is specified, requirements or rawSelector is required"
        found.append(fields.required(f"{where}.requirements", detail))
    for index, requirement in enumerate(requirements):
        found += _requirement_faults(requirement, f"{where}.requirements[{index}]", labels=labels)
    return found


def _requirement_faults(requirement: Mapping[str, Any], here: str, *, labels: bool) -> list[Cause]:
    key, operator = requirement.get("key") or "", requirement.get("operator") or ""
    values = requirement.get("values") or []
    found: list[Cause] = []
    if not labels and not key:
        found.append(fields.required(f"{here}.key", "must be specified"))
    if operator in _NEEDS_VALUES and not values:
        found.append(fields.required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    if operator in _FORBIDS_VALUES and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        found.append(fields.forbidden(f"{here}.values", detail))
    if labels:
        found += fields.each(f"{here}.key", key, names.check_qualified_name(key))
        for index, value in enumerate(values):
            found += fields.each(f"{here}.values[{index}]", value, names.check_label_value(value))
    return found
