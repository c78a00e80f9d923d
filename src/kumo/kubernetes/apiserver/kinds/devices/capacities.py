"""Attributes and capacities of devices, and how much of a capacity a request may take."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from kumo.api import fields, quantities
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.devices.identifiers import check_attribute_name, each_unique
from kumo.kubernetes.apiserver.kinds.go_diff import internal

_MOST_PER_DEVICE = 32
_MOST_VALUES = 48
_MOST_OPTIONS = 10
_LONGEST_VALUE = 64
_LONGEST_KEY = 63 + 1 + 32
_NUMBER = r"(0|[1-9]\d*)"
_PRERELEASE = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRERELEASE}(\.{_PRERELEASE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)
_LISTS = ("bools", "ints", "strings", "versions")
_VALUES = ("bool", "int", "string", "version", *_LISTS)


def shortened(key: str, longest: int = _LONGEST_KEY) -> str:
    """A key as paths show it: what is too long loses its middle."""
    if len(key) <= longest:
        return key
    left = longest - 3
    return f"{key[: (left + 1) // 2]}...{key[len(key) - left // 2 :]}"


def check_properties(path: str, device: dict[str, Any]) -> list[Cause]:
    """A device's attributes and capacities."""
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    found: list[Cause] = []
    if (count := len(attributes) + len(capacity)) > _MOST_PER_DEVICE:
        why = f"the total number of attributes and capacities must not exceed {_MOST_PER_DEVICE}"
        found.append(fields.invalid(path, count, why))
    if (count := sum(_count(a) for a in attributes.values())) > _MOST_VALUES:
        why = f"the total number of attribute values must not exceed {_MOST_VALUES}"
        found.append(fields.invalid(path, count, why))
    for key, attribute in sorted(attributes.items()):
        found += check_attribute_name(f"{path}.attributes", key)
        found += _attribute(f"{path}.attributes[{shortened(key)}]", attribute)
    for key, amount in sorted(capacity.items()):
        here, policy = f"{path}.capacity[{shortened(key)}].requestPolicy", amount.get("requestPolicy")
        found += check_attribute_name(f"{path}.capacity", key)
        if policy is None:
            continue
        if device.get("allowMultipleAllocations"):
            found += _policy(here, policy, amount.get("value") or "0")
        else:
            found.append(fields.forbidden(here, "allowMultipleAllocations must be true"))
    return found


def _count(attribute: dict[str, Any]) -> int:
    return sum(len(attribute.get(key) or ()) for key in _LISTS) or 1


def _attribute(path: str, attribute: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    given = [key for key in _VALUES if attribute.get(key) is not None]
    for key in given:
        here, value = f"{path}.{key}", attribute[key]
        if key in _LISTS and not value:
            found.append(fields.invalid(here, value, "must not be empty if specified"))
        texts = [(here, value)] if key in ("string", "version") else []
        if key in ("strings", "versions"):
            texts = [(f"{here}[{index}]", item) for index, item in enumerate(value)]
        for where, text in texts:
            if key.startswith("version") and not _SEMVER.fullmatch(text):
                found.append(fields.invalid(where, text, "must be a string compatible with semver.org spec 2.0.0"))
            if len(text.encode()) > _LONGEST_VALUE:
                found.append(fields.too_long(where, _LONGEST_VALUE))
    if len(given) != 1:
        shown = internal("resource.v1.DeviceAttribute", attribute) if given else ""
        found.append(fields.invalid(path, shown, "exactly one value must be specified"))
    return found


def _policy(path: str, policy: dict[str, Any], most: str) -> list[Cause]:
    values, span, default = policy.get("validValues") or [], policy.get("validRange"), policy.get("default")
    if values and span is not None:
        detail = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        return [fields.forbidden(path, detail)]
    if not values and span is None:
        return []
    key = "validValues" if values else "validRange"
    if default is None:
        return [fields.required(f"{path}.default", f"required when {key} is defined")]
    if values:
        return _options(f"{path}.validValues", values, default, most)
    return _range(f"{path}.validRange", span or {}, default, most)


def _options(path: str, values: list[str], default: str, most: str) -> list[Cause]:
    found: list[Cause] = []
    amounts = [quantities.parse(value) for value in values]
    for index in range(len(values) - 1):
        if amounts[index] > amounts[index + 1]:
            why = "values must be sorted in ascending order"
            found.append(fields.invalid(f"{path}[{index + 1}]", values[index + 1], why))

    def option(here: str, value: str) -> list[Cause]:
        if quantities.parse(value) <= quantities.parse(most):
            return []
        return [fields.invalid(here, value, f"option is larger than capacity value: {most}")]

    found += each_unique(path, values, _MOST_OPTIONS, option, lambda value: str(quantities.whole(value)))
    if quantities.parse(default) not in amounts or len(values) > _MOST_OPTIONS:
        found.append(fields.invalid(path, default, "default value is not valid according to the requestPolicy"))
    return found


def _range(path: str, span: dict[str, Any], default: str, most: str) -> list[Cause]:
    least = span.get("min")
    if least is None:
        return [fields.required(f"{path}.min", "required when validRange is defined")]
    found: list[Cause] = []

    def over(key: str, value: str, limit: str, why: str) -> None:
        if quantities.parse(value) > quantities.parse(limit):
            found.append(fields.invalid(f"{path}.{key}", value, f"{why}: {limit}"))

    over("min", least, most, "min is larger than capacity value")
    if quantities.parse(default) < quantities.parse(least):
        found.append(fields.invalid(f"{path}.min", default, f"default is less than min: {least}"))
    if (top := span.get("max")) is not None:
        over("max", least, top, "min is larger than max")
        over("max", top, most, "max is larger than capacity value")
        over("max", default, top, "default is more than max")
    if (step := span.get("step")) is None:
        return found
    one = quantities.parse(least) + quantities.parse(step)
    if one > quantities.parse(most):
        shown = quantities.to_text(one, binary=quantities.is_binary(least))
        why = f"one step {shown} is larger than capacity value: {most}"
        found.append(fields.invalid(f"{path}.step", step, why))
    for value in (default, *([top] if top is not None else [])):
        if not _on_step(value, least, step):
            why = f"value is not a multiple of a given step ({step}) from ({least})"
            found.append(fields.invalid(f"{path}.step", value, why))
    return found


def _on_step(value: str, least: str, step: str) -> bool:
    width = Fraction(quantities.whole(step))
    return width == 0 or (quantities.whole(value) - quantities.whole(least)) % width == 0
