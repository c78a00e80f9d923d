"""Quantities: numbers with a unit (`100m`, `1.5Gi`, `2e3`), as `apimachinery/pkg/api/resource` writes them.

Values are exact fractions; rounding is always up, as upstream's `Value()` and `MilliValue()`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil

_PATTERN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


@lru_cache(maxsize=8192)
def parse(text: str | int | float) -> Fraction:
    """The exact value. Raises ValueError for a text that is no quantity."""
    if isinstance(text, int):
        return Fraction(text)
    found = _PATTERN.fullmatch(str(text))
    if found is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, unit = Fraction(found[1]), found[2] or ""
    if unit in _BINARY:
        return number * Fraction(1024 ** _BINARY[unit])
    exponent = _DECIMAL[unit] if unit in _DECIMAL else int(unit[1:])
    if abs(exponent) > 100:
        raise ValueError(f"the exponent of the quantity {text!r} is out of range")
    return number * (Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent))


@lru_cache(maxsize=8192)
def canonical(text: str | int | float) -> str:
    """The form in which an API server gives the quantity back: no fraction, the largest unit without loss.

    `0.5` becomes `500m`, `1024Mi` becomes `1Gi`, `1000m` becomes `1`; an exponent stays an exponent. Raises ValueError.
    """
    suffix = (_PATTERN.fullmatch(str(text)) or ["", "", ""])[2] or ""
    return to_text(parse(text), binary=suffix in _BINARY, exponent=suffix[:1] in ("e", "E") and suffix != "E")


def is_binary(text: str | int | float) -> bool:
    """Whether the quantity is written with a power of 1024."""
    return str(text).endswith("i")


def to_text(value: Fraction | int, *, binary: bool = False, exponent: bool = False) -> str:
    """The canonical text of a value: `binary` for Ki, Mi, ...; `exponent` for e3, e6, ...; else k, M, m, u, n.

    What is finer than a billionth is rounded up, away from zero; binary values below 1024 and fractions of bytes are
    written in decimal form (upstream's `Quantity.CanonicalizeBytes`).
    """
    value = Fraction(value)
    if binary and value.denominator == 1 and abs(value.numerator) >= 1024:
        number = int(value)
        for unit in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
            size = 1024 ** _BINARY[unit]
            if number % size == 0 and number != 0:
                return f"{number // size}{unit}"
        return str(number)
    sign = -1 if value < 0 else 1
    nanos = ceil(value * sign * 1_000_000_000)
    if nanos == 0:
        return "0"
    power = -9
    while nanos % 1000 == 0 and power < 18:
        nanos //= 1000
        power += 3
    unit = next(u for u, p in _DECIMAL.items() if p == power)
    if exponent:
        unit = f"e{power}" if power else ""
    return f"{sign * nanos}{unit}"


@lru_cache(maxsize=8192)
def whole(text: str | int | float) -> int:
    """The value in whole units (bytes, pieces, cores), rounded up. Raises ValueError."""
    return ceil(parse(text))


@lru_cache(maxsize=8192)
def milli(text: str | int | float) -> int:
    """The value in thousandths (of a core), rounded up. Raises ValueError."""
    return ceil(parse(text) * 1000)
