"""Limit ranges: what containers, pods and claims of a namespace may ask for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import spec_of
from kumo.kubernetes.apiserver.kinds.pod.resources import check_container_resource, check_resource_name, is_native
from kumo.kubernetes.apiserver.kinds.rules import Rules

_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_ORDERS = (
    ("min", "max", "min", "min", "min value {min} is greater than max value {max}"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value {min} is greater than default request value {defaultRequest}"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value {defaultRequest} is greater than max value {max}"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest", "default request value {defaultRequest} is greater than default limit value {default}"),
    ("min", "default", "default", "min", "min value {min} is greater than default value {default}"),
    ("default", "max", "default", "max", "default value {default} is greater than max value {max}"),
)  # fmt: skip
"""What may not be more than what, the field that is blamed, the value that is shown, and the words."""


def _default(obj: Object) -> None:
    for limit in spec_of(obj).get("limits") or ():
        if limit.get("type") == "Container":
            for target, source in (("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")):
                for name, quantity in (limit.get(source) or {}).items():
                    limit.setdefault(target, {}).setdefault(name, quantity)


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
        if key == "maxLimitRequestRatio" and kind == "PersistentVolumeClaim":
            if "storage" not in (limit.get("min") or {}) and "storage" not in (limit.get("max") or {}):
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
    for less, more, blamed, shown, words in _ORDERS:
        if less in values and more in values and values[less] > values[more]:
            found.append(fields.invalid(f"{path}.{blamed}[{name}]", str(amounts[shown]), words.format(**amounts)))
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
            default=_default, validate=_validate, revalidates=True, allow_create_on_update=True
        )
    }
