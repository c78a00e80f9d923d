"""Limit ranges: what containers, pods and claims of a namespace may ask for."""

from __future__ import annotations

import uuid
from fractions import Fraction
from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.api.objects import Object, metadata
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import spec_of
from kumo.kubernetes.apiserver.kinds.pod.resources import check_container_resource, check_resource_name, is_native
from kumo.kubernetes.apiserver.kinds.rules import Rules

_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_WORDS = {"min": "min", "max": "max", "default": "default", "defaultRequest": "default request"}
_ORDERS = (
    ("min", "max", "min", "min"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest"),
    ("min", "default", "default", "min"),
    ("default", "max", "default", "max"),
)
"""What may not be more than what, the field that is blamed, and the value that is shown."""


def _default(obj: Object) -> None:
    for limit in spec_of(obj).get("limits") or ():
        if limit.get("type") == "Container":
            for target, source in (("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")):
                for name, quantity in (limit.get(source) or {}).items():
                    limit.setdefault(target, {}).setdefault(name, quantity)


def _name(obj: Object) -> None:
    """One that nobody has named gets a name."""
    meta = metadata(obj)
    meta["name"] = meta.get("name") or str(uuid.uuid4())


def _validate(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        here, kind = f"spec.limits[{index}]", limit.get("type") or ""
        wrong = fields.each(f"{here}.type", kind, names.check_qualified_name(kind))
        if not wrong and "/" not in kind and kind not in _TYPES:
            wrong = [fields.invalid(f"{here}.type", kind, "must be a standard limit type or fully qualified")]
        found += wrong
        if kind in seen:
            found.append(fields.duplicate(f"{here}.type", kind))
        seen.add(kind)
        _check_item(here, kind, limit, found)
    return found


def _check_item(path: str, kind: str, limit: dict[str, Any], found: list[Cause]) -> None:
    check = check_container_resource if kind in ("Pod", "Container") else check_resource_name
    given: dict[str, dict[str, Any]] = {}
    for key in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
        amounts = limit.get(key) or {}
        if key in ("default", "defaultRequest") and kind == "Pod":
            if amounts:
                found.append(fields.forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'"))
            continue
        claims = key == "maxLimitRequestRatio" and kind == "PersistentVolumeClaim"
        if claims and not any("storage" in (limit.get(bound) or {}) for bound in ("min", "max")):
            text = "either minimum or maximum storage value is required, but neither was provided"
            found.append(fields.required(f"{path}.limits", text))
        for name in amounts:
            found += check(f"{path}.{key}[{name}]", name)
        given[key] = amounts
    for name in dict.fromkeys(name for amounts in given.values() for name in amounts):
        _check_amounts(path, name, {key: amounts[name] for key, amounts in given.items() if name in amounts}, found)


def _check_amounts(path: str, name: str, amounts: dict[str, Any], found: list[Cause]) -> None:
    """The amounts of one resource against each other; `amounts` by the field that they stand in."""
    values = {key: quantities.parse(amount) for key, amount in amounts.items()}
    for less, more, blamed, shown in _ORDERS:
        if less in values and more in values and values[less] > values[more]:
            limit = "default limit" if (less, more) == ("defaultRequest", "default") else _WORDS[more]
            text = f"{_WORDS[less]} value {amounts[less]} is greater than {limit} value {amounts[more]}"
            found.append(fields.invalid(f"{path}.{blamed}[{name}]", str(amounts[shown]), text))
    ratio = values.get("maxLimitRequestRatio")
    if ratio is not None:
        here, text = f"{path}.maxLimitRequestRatio[{name}]", str(amounts["maxLimitRequestRatio"])
        if ratio < 1:
            found.append(fields.invalid(here, text, f"ratio {text} is less than 1"))
        if "min" in values and "max" in values:
            most = _ratio(values["max"], values["min"])
            if ratio > most:
                found.append(fields.invalid(here, text, f"ratio {text} is greater than max/min = {_float(most)}"))
    fixed = not is_native(name) or name.startswith("hugepages-")
    if fixed and "default" in values and values["default"] != values.get("defaultRequest", values["default"]):
        first, second = amounts["default"], amounts["defaultRequest"]
        text = f"default value {first} must equal to defaultRequest value {second} in {name}"
        found.append(fields.invalid(f"{path}.defaultRequest[{name}]", str(second), text))


def _ratio(most: Fraction, least: Fraction) -> Fraction | float:
    if least:
        return most / least
    return float("inf") if most > 0 else float("-inf") if most < 0 else float("nan")


def _float(value: Fraction | float) -> str:
    """A number as Go's `%f` writes it."""
    text = f"{float(value):.6f}"
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text, text)


def rules() -> dict[GVK, Rules]:
    """The rules of limit ranges."""
    return {
        GVK("", "v1", "LimitRange"): Rules(
            default=_default,
            on_create=_name,
            validate=_validate,
            revalidates="only",
            allow_create_on_update=True,
        )
    }
