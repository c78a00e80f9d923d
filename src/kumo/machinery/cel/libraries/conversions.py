"""Conversions between the types (`int(x)`, `string(x)`, `timestamp(x)`, `type(x)`, `dyn(x)`)."""

from __future__ import annotations

import math
import re
from typing import Any

from kumo.machinery.cel import costs
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.numbers import INT_MAX, INT_MIN, UINT_MAX, Uint, checked_int, checked_uint
from kumo.machinery.cel.times import Duration, Timestamp, parse_duration, parse_timestamp, timestamp
from kumo.machinery.cel.values import type_of_value

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_DIGITS = re.compile(r"[0-9]{1,20}")


def _fail(given: str, wanted: str) -> CelError:
    return CelError(f"type conversion error from '{given}' to '{wanted}'")


def _bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _fail("string", "bool")


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None


def _int(text: str) -> int:
    if _WHOLE.fullmatch(text) and INT_MIN <= int(text) <= INT_MAX:
        return int(text)
    raise _fail("string", "int")


def _uint(text: str) -> Uint:
    if _DIGITS.fullmatch(text) and int(text) <= UINT_MAX:
        return Uint(int(text))
    raise _fail("string", "uint")


def _double(text: str) -> float:
    try:
        if "_" in text or text != text.strip():
            raise ValueError
        return float(text)
    except ValueError:
        raise _fail("string", "double") from None


def _double_to_int(value: float) -> int:
    if not math.isfinite(value) or not -(2.0**63) < value < 2.0**63:
        raise CelError("integer overflow")
    return int(value)


def _double_to_uint(value: float) -> Uint:
    if not math.isfinite(value) or not 0 <= value < 2.0**64:
        raise CelError("unsigned integer overflow")
    return Uint(int(value))


def _duration(text: str) -> Duration:
    try:
        return parse_duration(text)
    except ValueError:
        raise _fail("string", "google.protobuf.Duration") from None


def _timestamp(text: str) -> Timestamp:
    try:
        return parse_timestamp(text)
    except ValueError:
        raise _fail("string", "google.protobuf.Timestamp") from None


def double_text(value: float) -> str:
    """A double as Go's `%g` with the fewest digits writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if mantissa.endswith(".0"):
        mantissa = mantissa[:-2]
    if not exponent and abs(value) < 1e21:
        return mantissa
    sign, digits = exponent[:1] if exponent[:1] in "+-" else "+", exponent.lstrip("+-")
    return f"{mantissa}e{sign}{int(digits):02d}"


def overloads() -> list[Overload]:
    """Everything here."""

    def same(value: Any) -> Any:
        return value

    text = costs.traversed()
    return [
        overload("type", "type = (T) -> type<T>", type_of_value),
        overload("dyn", "to_dyn = (T) -> dyn", same),
        overload("bool", "bool_to_bool = (bool) -> bool", same),
        overload("bool", "string_to_bool = (string) -> bool", _bool),
        overload("bytes", "bytes_to_bytes = (bytes) -> bytes", same),
        overload("bytes", "string_to_bytes = (string) -> bytes", str.encode, text),
        overload("double", "double_to_double = (double) -> double", same),
        overload("double", "int64_to_double = (int) -> double", float),
        overload("double", "string_to_double = (string) -> double", _double),
        overload("double", "uint64_to_double = (uint) -> double", float),
        overload("duration", "duration_to_duration = (duration) -> duration", same),
        overload("duration", "int64_to_duration = (int) -> duration", Duration),
        overload("duration", "string_to_duration = (string) -> duration", _duration),
        overload("int", "int64_to_int64 = (int) -> int", same),
        overload("int", "double_to_int64 = (double) -> int", _double_to_int),
        overload("int", "duration_to_int64 = (duration) -> int", lambda d: d.ns),
        overload("int", "string_to_int64 = (string) -> int", _int),
        overload("int", "timestamp_to_int64 = (timestamp) -> int", lambda t: t.ns // 10**9),
        overload("int", "uint64_to_int64 = (uint) -> int", lambda u: checked_int(int(u))),
        overload("string", "string_to_string = (string) -> string", same),
        overload("string", "bool_to_string = (bool) -> string", lambda b: "true" if b else "false"),
        overload("string", "bytes_to_string = (bytes) -> string", _bytes_text, text),
        overload("string", "double_to_string = (double) -> string", double_text),
        overload("string", "duration_to_string = (duration) -> string", str),
        overload("string", "int64_to_string = (int) -> string", str),
        overload("string", "timestamp_to_string = (timestamp) -> string", str),
        overload("string", "uint64_to_string = (uint) -> string", lambda u: str(int(u))),
        overload("timestamp", "timestamp_to_timestamp = (timestamp) -> timestamp", same),
        overload("timestamp", "int64_to_timestamp = (int) -> timestamp", lambda i: timestamp(i * 10**9)),
        overload("timestamp", "string_to_timestamp = (string) -> timestamp", _timestamp),
        overload("uint", "uint64_to_uint64 = (uint) -> uint", same),
        overload("uint", "double_to_uint64 = (double) -> uint", _double_to_uint),
        overload("uint", "int64_to_uint64 = (int) -> uint", checked_uint),
        overload("uint", "string_to_uint64 = (string) -> uint", _uint),
    ]
