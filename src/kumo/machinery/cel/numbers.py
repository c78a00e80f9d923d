"""Whole numbers of CEL: 64 bits, and an error instead of an overflow."""

from __future__ import annotations

from kumo.machinery.cel.errors import CelError

INT_MAX = (1 << 63) - 1
INT_MIN = -(1 << 63)
UINT_MAX = (1 << 64) - 1


class Uint(int):
    """A `uint`; plain `int` is CEL's `int`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{int(self)}u"


def checked_int(value: int) -> int:
    """The value, if it fits 64 bits with a sign. Raises CelError."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise CelError("integer overflow")


def checked_uint(value: int) -> Uint:
    """The value, if it fits 64 bits without a sign. Raises CelError."""
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise CelError("unsigned integer overflow")
