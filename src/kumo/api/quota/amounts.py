"""Named quantities that keep the form they were written in, so that sums read as upstream writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from kumo.api import quantities

_ZERO = Fraction(0)


class Amount(NamedTuple):
    """A value and the form it is written in: `decimal` (k, M), `binary` (Ki, Mi) or `exponent` (e3)."""

    value: Fraction
    form: str = "decimal"

    def plus(self, other: Amount) -> Amount:
        """The sum, in this amount's form; nothing takes on the other's form, as `Quantity.Add`."""
        return Amount(self.value + other.value, self.form if self.value else other.form)

    def minus(self, other: Amount) -> Amount:
        """The difference, by the same rule for its form."""
        return Amount(self.value - other.value, self.form if self.value else other.form)

    def __str__(self) -> str:
        return quantities.to_text(self.value, binary=self.form == "binary", exponent=self.form == "exponent")


Amounts = dict[str, Amount]
"""Amounts by resource name (`requests.cpu`, `count/deployments.apps`)."""

ONE = Amount(Fraction(1))
NOTHING = Amount(_ZERO)


@lru_cache(maxsize=8192)
def parse_amount(text: str | int | float) -> Amount:
    """The amount that the text says. Raises ValueError."""
    value = quantities.parse(text)
    if quantities.is_binary(text):
        return Amount(value, "binary")
    written = str(text)
    exponent = ("e" in written or "E" in written) and not written.endswith("E")
    return Amount(value, "exponent" if exponent else "decimal")


def parse_amounts(found: Mapping[str, Any] | None) -> Amounts:
    """The amounts of a resource list."""
    return {name: parse_amount(value) for name, value in (found or {}).items()}


def texts(amounts: Mapping[str, Amount]) -> dict[str, str]:
    """The amounts as a resource list."""
    return {name: str(amount) for name, amount in amounts.items()}


def add(left: Mapping[str, Amount], right: Mapping[str, Amount]) -> Amounts:
    """The sums by name."""
    found = dict(left)
    for name, amount in right.items():
        found[name] = found[name].plus(amount) if name in found else amount
    return found


def growth(new: Mapping[str, Amount], old: Mapping[str, Amount]) -> Amounts:
    """By how much each name grows; nothing where it shrinks."""
    found = {}
    for name, amount in new.items():
        before = old.get(name)
        grown = amount if before is None else amount.minus(before)
        if grown.value > 0:
            found[name] = grown
    return found


def mask(amounts: Mapping[str, Amount], names: Iterable[str]) -> Amounts:
    """Only the given names."""
    return {name: amounts[name] for name in names if name in amounts}


def equal(left: Mapping[str, Amount], right: Mapping[str, Amount]) -> bool:
    """Whether both name the same values, in whatever form."""
    return len(left) == len(right) and all(
        name in right and amount.value == right[name].value for name, amount in left.items()
    )


def listed(amounts: Mapping[str, Amount], names: Iterable[str]) -> str:
    """`a=1,b=2` in order of names, as refusals say it."""
    return ",".join(f"{name}={amounts[name]}" for name in sorted(names) if name in amounts)
