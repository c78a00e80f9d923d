"""Validation of `metav1.Condition` (`apimachinery/pkg/apis/meta/v1/validation`)."""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause

_STATUSES = ("False", "True", "Unknown")
_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_REASON_TEXT = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_'"
)
_REASON_EXAMPLES = ("my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB")
_LONGEST_REASON = 1024
_LONGEST_MESSAGE = 32 * 1024


def validate_conditions(path: str, conditions: Any) -> list[Cause]:
    """What is wrong with a list of conditions; no two may have the same type."""
    found: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate(conditions or ()):
        here, kind = f"{path}[{index}]", condition.get("type") or ""
        if kind in seen:
            found.append(fields.duplicate(f"{here}.type", kind))
        seen.add(kind)
        found += _condition(here, kind, condition)
    return found


def _condition(path: str, kind: str, condition: dict[str, Any]) -> list[Cause]:
    found = fields.each(f"{path}.type", kind, names.check_qualified_name(kind))
    status, generation = condition.get("status") or "", condition.get("observedGeneration") or 0
    if status not in _STATUSES:
        found.append(fields.unsupported(f"{path}.status", status, _STATUSES))
    if generation < 0:
        why = "must be greater than or equal to zero"
        found.append(fields.invalid(f"{path}.observedGeneration", generation, why))
    if not condition.get("lastTransitionTime"):
        found.append(fields.required(f"{path}.lastTransitionTime"))
    reason = condition.get("reason") or ""
    if not reason:
        found.append(fields.required(f"{path}.reason"))
    elif not re.fullmatch(_REASON, reason):
        why = names.regex_error(_REASON_TEXT, _REASON, *_REASON_EXAMPLES)
        found.append(fields.invalid(f"{path}.reason", reason, why))
    if len(reason.encode()) > _LONGEST_REASON:
        found.append(fields.too_long(f"{path}.reason", _LONGEST_REASON))
    if len((condition.get("message") or "").encode()) > _LONGEST_MESSAGE:
        found.append(fields.too_long(f"{path}.message", _LONGEST_MESSAGE))
    return found
