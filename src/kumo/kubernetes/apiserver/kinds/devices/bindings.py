"""Binding conditions: what a driver has to report of a device before a pod that has it may be bound."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.devices.identifiers import each_item

_MOST = 4
_GOOD, _BAD = "bindingConditions", "bindingFailureConditions"


def check_binding(path: str, item: dict[str, Any]) -> list[Cause]:
    """The binding conditions of a device or of an allocated one."""
    good, bad = item.get(_GOOD) or [], item.get(_BAD) or []
    found = each_item(f"{path}.{_GOOD}", good, _MOST, _label) + each_item(f"{path}.{_BAD}", bad, _MOST, _label)
    for index, condition in enumerate(good):
        found += [fields.duplicate(f"{path}.{_GOOD}[{index}]", condition)] if condition in good[:index] else []
    for index, condition in enumerate(bad):
        here = f"{path}.{_BAD}[{index}]"
        found += [fields.duplicate(here, condition)] if condition in bad[:index] else []
        if condition in good:
            found.append(fields.invalid(here, condition, f"{_BAD} must not overlap with {_GOOD}"))
    for key, mine, other_key, other in ((_GOOD, good, _BAD, bad), (_BAD, bad, _GOOD, good)):
        if other and not mine:
            shown = item.get(key)
            found.append(fields.invalid(f"{path}.{key}", shown, f"{key} are required to use {other_key}"))
    return found


def _label(path: str, text: str) -> list[Cause]:
    return fields.each(path, text, names.check_qualified_name(text))
