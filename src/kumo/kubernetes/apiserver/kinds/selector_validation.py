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
        here, operator = f"{path}.matchExpressions[{index}]", item.get("operator") or ""
        values = item.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                detail = "must be specified when `operator` is 'In' or 'NotIn'"
                found.append(fields.required(f"{here}.values", detail))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                found.append(fields.forbidden(f"{here}.values", detail))
        else:
            found.append(fields.invalid(f"{here}.operator", operator, "not a valid selector operator"))
        key = item.get("key") or ""
        found += fields.each(f"{here}.key", key, names.check_qualified_name(key))
        for number, value in enumerate(values):
            found += fields.each(f"{here}.values[{number}]", value, names.check_label_value(value))
    return found
