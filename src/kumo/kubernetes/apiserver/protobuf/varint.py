"""Protobuf's variable-length integers, as they are written (https://protobuf.dev/programming-guides/encoding/#varints)."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
