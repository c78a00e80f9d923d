"""Operators: arithmetic, comparison, containment, size (cel-spec; cel-go's stdlib)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kumo.machinery.cel import costs
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.numbers import Uint, checked_int, checked_uint
from kumo.machinery.cel.times import Duration, Timestamp, duration, timestamp
from kumo.machinery.cel.values import added_lists, contains, equal


def _divide(a: int, b: int) -> int:
    if not b:
        raise CelError("division by zero")
    return checked_int(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


def _modulo(a: int, b: int) -> int:
    if not b:
        raise CelError("modulus by zero")
    return int(math.copysign(1, a)) * (abs(a) % abs(b))


def _divide_uint(a: int, b: int) -> Uint:
    if not b:
        raise CelError("division by zero")
    return Uint(a // b)


def _modulo_uint(a: int, b: int) -> Uint:
    if not b:
        raise CelError("modulus by zero")
    return Uint(a % b)


def _divide_double(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _arithmetic() -> list[Overload]:
    def both(function: str, name: str, kind: str, code: Callable[..., Any]) -> Overload:
        return overload(function, f"{name}_{kind} = ({kind}, {kind}) -> {kind}", code)

    found = []
    for function, name, code in (
        ("_+_", "add", lambda a, b: a + b),
        ("_-_", "subtract", lambda a, b: a - b),
        ("_*_", "multiply", lambda a, b: a * b),
    ):
        found.append(both(function, name, "int", lambda a, b, code=code: checked_int(code(int(a), int(b)))))
        found.append(both(function, name, "uint", lambda a, b, code=code: checked_uint(code(int(a), int(b)))))
        found.append(both(function, name, "double", code))
    found += [
        both("_/_", "divide", "int", _divide),
        both("_/_", "divide", "uint", _divide_uint),
        both("_/_", "divide", "double", _divide_double),
        both("_%_", "modulo", "int", _modulo),
        both("_%_", "modulo", "uint", _modulo_uint),
        overload("-_", "negate_int64 = (int) -> int", lambda a: checked_int(-a)),
        overload("-_", "negate_double = (double) -> double", lambda a: -a),
        overload("_+_", "add_string = (string, string) -> string", lambda a, b: a + b, costs.added),
        overload("_+_", "add_bytes = (bytes, bytes) -> bytes", lambda a, b: a + b, costs.added),
        overload("_+_", "add_list = (list<T>, list<T>) -> list<T>", added_lists),
        overload("_+_", "add_duration_duration = (duration, duration) -> duration", lambda a, b: duration(a.ns + b.ns)),
        overload(
            "_+_",
            "add_duration_timestamp = (duration, timestamp) -> timestamp",
            lambda a, b: timestamp(a.ns + b.ns, b.offset),
        ),
        overload(
            "_+_",
            "add_timestamp_duration = (timestamp, duration) -> timestamp",
            lambda a, b: timestamp(a.ns + b.ns, a.offset),
        ),
        overload(
            "_-_", "subtract_duration_duration = (duration, duration) -> duration", lambda a, b: duration(a.ns - b.ns)
        ),
        overload(
            "_-_",
            "subtract_timestamp_duration = (timestamp, duration) -> timestamp",
            lambda a, b: timestamp(a.ns - b.ns, a.offset),
        ),
        overload(
            "_-_",
            "subtract_timestamp_timestamp = (timestamp, timestamp) -> duration",
            lambda a, b: duration(a.ns - b.ns),
        ),
    ]
    return found


_COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "_<_": ("less", lambda a, b: a < b),
    "_<=_": ("less_equals", lambda a, b: a <= b),
    "_>_": ("greater", lambda a, b: a > b),
    "_>=_": ("greater_equals", lambda a, b: a >= b),
}
_NUMBERS = ("int", "uint", "double")


def _comparison() -> list[Overload]:
    found = []
    for function, (name, code) in _COMPARISONS.items():
        for kind in ("bool", *_NUMBERS, "string", "bytes", "timestamp", "duration"):
            cost = costs.smaller if kind in ("string", "bytes") else None
            found.append(overload(function, f"{name}_{kind} = ({kind}, {kind}) -> bool", code, cost))
            for other in _NUMBERS:
                if kind in _NUMBERS and other != kind:
                    found.append(overload(function, f"{name}_{kind}_{other} = ({kind}, {other}) -> bool", code))
    return found


def _index_list(items: list[Any], index: Any) -> Any:
    if type(index) is float and index.is_integer():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool):
        raise CelError(f"unsupported index type '{type(index).__name__}' in list")
    if not 0 <= index < len(items):
        raise CelError(f"index out of bounds: {index}")
    return items[index]


def _index_map(items: Any, key: Any) -> Any:
    if not contains(items, key):
        raise CelError(f"no such key: {key}")
    return items[key]


def overloads() -> list[Overload]:
    """Everything here."""
    found = [
        overload("_?_:_", "conditional = (bool, T, T) -> T", _unused),
        overload("_&&_", "logical_and = (bool, bool) -> bool", _unused),
        overload("_||_", "logical_or = (bool, bool) -> bool", _unused),
        overload("!_", "logical_not = (bool) -> bool", lambda a: not a),
        overload("@not_strictly_false", "not_strictly_false = (bool) -> bool", _unused),
        overload("_==_", "equals = (T, T) -> bool", equal, costs.smaller),
        overload("_!=_", "not_equals = (T, T) -> bool", lambda a, b: not equal(a, b), costs.smaller),
        overload("_[_]", "index_list = (list<T>, int) -> T", _index_list),
        overload("_[_]", "index_map = (map<K,V>, K) -> V", _index_map),
        overload("@in", "in_list = (T, list<T>) -> bool", lambda v, items: contains(items, v), lambda a, r: len(a[1])),
        overload("@in", "in_map = (K, map<K,V>) -> bool", lambda v, m: contains(m, v)),
    ]
    for kind in ("bytes", "list<T>", "map<K,V>", "string"):
        name = kind.split("<")[0]
        found.append(overload("size", f"size_{name} = ({kind}) -> int", len))
        found.append(overload("size", f"{name}_size = {kind}.() -> int", len))
    return found + _arithmetic() + _comparison()


def _unused(*_: Any) -> Any:
    raise AssertionError("the compiler has this operator itself")


__all__ = ["Duration", "Timestamp", "overloads"]
