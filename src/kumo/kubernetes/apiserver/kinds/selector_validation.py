"""Validation of `metav1.LabelSelector`."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.metadata import validate_labels


def validate_label_selector(path: str, selector: dict[str, Any] | None) -> list[Cause]:
    """What is wrong with a label selector; a missing one is fine."""
    if not selector:
        return []
    found = validate_labels(f"{path}.matchLabels", selector.get("matchLabels"))
    for index, item in enumerate(selector.get("matchExpressions") or ()):
        found += validate_requirement(f"{path}.matchExpressions[{index}]", item)
    return found


def validate_requirement(
    path: str, requirement: dict[str, Any], *, numbers: bool = False, values_too: bool = True
) -> list[Cause]:
    """A selector's requirement; `numbers`: nodes' selectors also know Gt and Lt; `values_too`: check label values."""
    found: list[Cause] = []
    operator, values = requirement.get("operator") or "", requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(fields.required(f"{path}.values", detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(fields.forbidden(f"{path}.values", detail))
    elif numbers and operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            found.append(fields.required(f"{path}.values", detail))
    else:
        found.append(fields.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = requirement.get("key") or ""
    found += fields.each(f"{path}.key", key, names.check_qualified_name(key))
    if values_too:
        for index, value in enumerate(values):
            found += fields.each(f"{path}.values[{index}]", value, names.check_label_value(value))
    return found
