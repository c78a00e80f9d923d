"""Quantities and semantic versions (k8s.io/apiserver/pkg/cel/library, quantity and semver)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from kumo.api import quantities
from kumo.machinery.cel import costs, types
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.numbers import INT_MAX, INT_MIN

QUANTITY_TYPE = types.struct("kubernetes.Quantity", {})
SEMVER_TYPE = types.struct("kubernetes.Semver", {})
_NAMED: Mapping[str, types.Type] = {"quantity": QUANTITY_TYPE, "semver": SEMVER_TYPE}
_NUMBER = r"(?:0|[1-9]\d*)"
_SEMVER = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


class Quantity:
    """The value of `quantity('1.5Gi')`."""

    __slots__ = ("binary", "plain", "value")
    cel_type = QUANTITY_TYPE

    def __init__(self, value: Fraction, binary: bool, plain: bool = True) -> None:
        self.value = value
        self.binary = binary
        self.plain = plain
        """Whether it was written as a whole number of units not below one: only such are integers to upstream."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __str__(self) -> str:
        return quantities.to_text(self.value, binary=self.binary)


class Semver:
    """The value of `semver('1.2.3-rc.1')`; ordered by the rules of semver.org."""

    __slots__ = ("key", "numbers", "text")
    cel_type = SEMVER_TYPE

    def __init__(self, text: str, normalize: bool = False) -> None:
        match = _SEMVER.fullmatch(_normalized(text) if normalize else text)
        if match is None:
            raise CelError(_semver_error(text))
        self.text = match.group()
        self.numbers = tuple(int(n) for n in match.groups()[:3])
        parts = match[4].split(".") if match[4] else []
        if any(p.isdigit() and len(p) > 1 and p[0] == "0" for p in parts):
            raise CelError("Numeric PreRelease version must not contain leading zeroes")
        before: tuple[Any, ...] = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts)
        self.key = (self.numbers, not parts, before)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return self.text


def _semver_error(text: str) -> str:
    parts = text.split(".", 2)
    if not text:
        return "Version string empty"
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    for name, part in zip(("major", "minor", "patch"), parts, strict=True):
        number = re.split(r"[-+]", part, maxsplit=1)[0] if name == "patch" else part
        title = name.capitalize()
        if not re.fullmatch(r"\d*", number) or not number:
            return f'Invalid character(s) found in {name} number "{number}"'
        if len(number) > 1 and number[0] == "0":
            return f'{title} number must not contain leading zeroes "{number}"'
    return f'Invalid character(s) found in prerelease "{text}"'


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            bare = part.lstrip("0")
            parts[index] = bare if bare and bare[0].isdigit() else "0" + bare
    if len(parts) < 3 and re.search(r"[+-]", parts[-1]):
        raise CelError("short version cannot contain PreRelease/Build meta data")
    return ".".join(parts + ["0"] * (3 - len(parts)))


def _quantity(text: str) -> Quantity:
    try:
        plain = "." not in text and not text.endswith(("n", "u", "m")) and "e-" not in text.lower()
        return Quantity(quantities.parse(text), quantities.is_binary(text), plain)
    except ValueError as error:
        raise CelError(str(error)) from None


def _is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except ValueError:
        return False
    return True


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        Semver(text, normalize)
    except CelError:
        return False
    return True


def _integer(quantity: Quantity) -> int:
    if not _is_integer(quantity):
        raise CelError("cannot convert value to integer")
    return int(quantity.value)


def _is_integer(quantity: Quantity) -> bool:
    return quantity.plain and quantity.value.denominator == 1 and INT_MIN <= quantity.value <= INT_MAX


def _compare(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


def overloads() -> list[Overload]:
    """Everything here."""
    text = costs.traversed()

    def put(function: str, line: str, code: Any, cost: Any = None) -> Overload:
        return overload(function, line, code, cost, by_name=True, named=_NAMED)

    def more(a: Quantity, b: Quantity) -> Quantity:
        return Quantity(a.value + b.value, a.binary, a.plain and b.plain)

    def less(a: Quantity, b: Quantity) -> Quantity:
        return Quantity(a.value - b.value, a.binary, a.plain and b.plain)

    return [
        put("quantity", "string_to_quantity = (string) -> quantity", _quantity, text),
        put("isQuantity", "is_quantity_string = (string) -> bool", _is_quantity, text),
        put("sign", "quantity_sign = (quantity) -> int", lambda q: _compare(q.value, 0)),
        put("isGreaterThan", "quantity_is_greater_than = quantity.(quantity) -> bool", lambda a, b: a.value > b.value),
        put("isLessThan", "quantity_is_less_than = quantity.(quantity) -> bool", lambda a, b: a.value < b.value),
        put("compareTo", "quantity_compare_to = quantity.(quantity) -> int", lambda a, b: _compare(a.value, b.value)),
        put("asApproximateFloat", "quantity_get_float = quantity.() -> double", lambda q: float(q.value)),
        put("asInteger", "quantity_get_int = quantity.() -> int", _integer),
        put("isInteger", "quantity_is_integer = quantity.() -> bool", _is_integer),
        put("add", "quantity_add = quantity.(quantity) -> quantity", more),
        put(
            "add",
            "quantity_add_int = quantity.(int) -> quantity",
            lambda a, b: Quantity(a.value + b, a.binary, a.plain),
        ),
        put("sub", "quantity_sub = quantity.(quantity) -> quantity", less),
        put(
            "sub",
            "quantity_sub_int = quantity.(int) -> quantity",
            lambda a, b: Quantity(a.value - b, a.binary, a.plain),
        ),
        put("semver", "string_to_semver = (string) -> semver", Semver, text),
        put("semver", "string_bool_to_semver = (string, bool) -> semver", Semver, text),
        put("isSemver", "is_semver_string = (string) -> bool", _is_semver, text),
        put("isSemver", "is_semver_string_bool = (string, bool) -> bool", _is_semver, text),
        put("isGreaterThan", "semver_is_greater_than = semver.(semver) -> bool", lambda a, b: a.key > b.key),
        put("isLessThan", "semver_is_less_than = semver.(semver) -> bool", lambda a, b: a.key < b.key),
        put("compareTo", "semver_compare_to = semver.(semver) -> int", lambda a, b: _compare(a.key, b.key)),
        put("major", "semver_major = semver.() -> int", lambda v: v.numbers[0]),
        put("minor", "semver_minor = semver.() -> int", lambda v: v.numbers[1]),
        put("patch", "semver_patch = semver.() -> int", lambda v: v.numbers[2]),
    ]
