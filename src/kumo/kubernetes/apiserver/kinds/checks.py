"""Checks that many kinds share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kumo.api import fields, intstr, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.rules import at

NOT_NEGATIVE = "must be greater than or equal to 0"


def set_default(obj: dict[str, Any], **values: Any) -> None:
    """Set each field that is missing or null."""
    for key, value in values.items():
        if obj.get(key) is None:
            obj[key] = value


def spec_of(obj: Object) -> dict[str, Any]:
    """The object's spec, made if missing."""
    found: dict[str, Any] = obj.setdefault("spec", {})
    return found


def not_negative(obj: dict[str, Any], path: str, *keys: str) -> list[Cause]:
    """The numbers under these keys may be missing, but not negative."""
    return [fields.invalid(f"{path}.{k}", obj[k], NOT_NEGATIVE) for k in keys if (obj.get(k) or 0) < 0]


def choice(path: str, value: Any, allowed: Sequence[str], *, needed: bool = True, detail: str = "") -> list[Cause]:
    """One of the allowed texts."""
    if not value:
        return [fields.required(path, detail)] if needed else []
    return [] if value in allowed else [fields.unsupported(path, value, allowed)]


def given(path: str, value: Any, allowed: Sequence[str]) -> list[Cause]:
    """One of the allowed texts, if there is one at all; an empty text is none of them."""
    return [] if value is None or value in allowed else [fields.unsupported(path, value, allowed)]


def needed(obj: dict[str, Any], path: str, *keys: str) -> list[Cause]:
    """The fields under these keys may not be empty."""
    return [fields.required(f"{path}.{k}" if path else k) for k in keys if not obj.get(k)]


def number_or_percent(path: str, value: Any) -> list[Cause]:
    """An `IntOrString` that is not negative, or a share in percent."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]+%", value):
            text = "a valid percent string must be a numeric string followed by an ending '%'"
            return [fields.invalid(path, value, names.regex_error(text, "[0-9]+%", "1%", "93%"))]
        return []
    return [fields.invalid(path, value, NOT_NEGATIVE)] if (value or 0) < 0 else []


def at_most_all(path: str, value: Any) -> list[Cause]:
    """No more than 100%."""
    share = intstr.percent(value) if isinstance(value, str) else None
    return [fields.invalid(path, value, "must not be greater than 100%")] if (share or 0) > 100 else []


def unchanged(new: Object, old: Object, *paths: str) -> list[Cause]:
    """The values at these paths may not change."""
    found = []
    for path in paths:
        fresh, stale = at(new, path), at(old, path)
        if fresh != stale:
            found.append(fields.immutable(path, fresh))
    return found
