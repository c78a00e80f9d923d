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
        here = f"{path}.matchExpressions[{index}]"
        found += validate_requirement(here, item)
        for number, value in enumerate(item.get("values") or ()):
            found += fields.each(f"{here}.values[{number}]", value, names.check_label_value(value))
    return found


def validate_requirement(path: str, requirement: dict[str, Any], *, numbers: bool = False) -> list[Cause]:
    """Key, operator and number of values of a selector's requirement; `numbers`: nodes' also know Gt and Lt."""
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
    return found + fields.each(f"{path}.key", key, names.check_qualified_name(key))
