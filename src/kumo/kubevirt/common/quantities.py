"""Quantities as text: the canonical form that an API server of Go writes back, and sums in a chosen format.

Upstream's webhooks decode a spec into typed values and write it back, which makes `0.5Gi` into `512Mi` and keeps
`1024M`. The rules are those of `apimachinery/pkg/api/resource` (Quantity.CanonicalizeBytes).
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from kumo.api.quantities import parse

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")


def is_binary(text: str | int | float) -> bool:
    """Whether the quantity is written with a power of 1024."""
    return str(text).endswith("i")


def render(value: Fraction | int, *, binary: bool) -> str:
    """The shortest exact form: the largest unit that leaves no fraction.

    Binary values below 1024 and fractions of bytes are written in decimal form, as upstream.
    """
    value = Fraction(value)
    if value == 0:
        return "0"
    if binary and value.denominator == 1 and abs(value) >= 1024:
        number, unit = int(value), 0
        while number % 1024 == 0 and unit < len(_BINARY) - 1:
            number, unit = number // 1024, unit + 1
        return f"{number}{_BINARY[unit]}"
    number, unit = ceil(value * 10**9), 0
    while number % 1000 == 0 and unit < len(_DECIMAL) - 1:
        number, unit = number // 1000, unit + 1
    return f"{number}{_DECIMAL[unit]}"


def canonical(text: str | int | float) -> str:
    """The canonical text of the same quantity. Raises ValueError for a text that is no quantity."""
    words = str(text)
    if "e" in words or ("E" in words and not words.endswith(("E", "Ei"))):
        return _exponent(parse(text))
    return render(parse(text), binary=is_binary(text))


def _exponent(value: Fraction) -> str:
    number, power = ceil(value * 10**9), -9
    while number and number % 1000 == 0:
        number, power = number // 1000, power + 3
    return f"{number}e{power}" if power else f"{number}"
