"""Functions on lists: Kubernetes' own, and cel-go's ext/lists version 3, ext/sets, two-variable comprehensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kumo.machinery.cel import costs
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.numbers import Uint, checked_int, checked_uint
from kumo.machinery.cel.times import Duration, duration
from kumo.machinery.cel.values import contains, equal, type_of_value

_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMABLE: dict[str, Any] = {"int": 0, "uint": Uint(0), "double": 0.0, "duration": Duration(0)}
_LENGTH_LIMIT = 1_000_000


def _comparable(items: list[Any]) -> list[Any]:
    kinds = {type_of_value(i).name for i in items}
    if len(kinds) > 1 and not kinds <= {"int", "uint", "double"}:
        raise CelError("no such overload")
    return items


def _is_sorted(items: list[Any]) -> bool:
    return all(not b < a for a, b in zip(_comparable(items), items[1:], strict=False))


def _sum(zero: Any) -> Callable[[list[Any]], Any]:
    def code(items: list[Any]) -> Any:
        if type(zero) is Duration:
            return duration(sum(i.ns for i in items))
        if type(zero) is float:
            return float(sum(items))
        return checked_int(sum(items)) if type(zero) is int else checked_uint(sum(map(int, items)))

    return code


def _extreme(name: str) -> Callable[[list[Any]], Any]:
    pick = min if name == "min" else max

    def code(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{name} called on empty list")
        return pick(_comparable(items))

    return code


def _index_of(items: list[Any], value: Any) -> int:
    return next((i for i, item in enumerate(items) if equal(item, value)), -1)


def _last_index_of(items: list[Any], value: Any) -> int:
    return next((i for i in range(len(items) - 1, -1, -1) if equal(items[i], value)), -1)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise CelError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CelError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if len(items) < end:
        raise CelError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return list(items[start:end])


def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CelError("level must be non-negative")
    out: list[Any] = []
    for item in items:
        if isinstance(item, list) and depth:
            out += _flatten(item, depth - 1)
        else:
            out.append(item)
    return out


def _sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    if len(items) != len(keys):
        raise CelError(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, "
            f"but got {len(items)} and {len(keys)} elements respectively"
        )
    if len({type(k) for k in keys}) > 1:
        raise CelError("list elements must have the same type")
    return [items[i] for i in sorted(range(len(items)), key=lambda i: keys[i])]


def _range(count: int) -> list[int]:
    if count > _LENGTH_LIMIT:
        raise CelError("operation cancelled: actual cost limit exceeded")
    return list(range(count))


def _distinct(items: list[Any]) -> list[Any]:
    out: list[Any] = []
    for item in items:
        if not contains(out, item):
            out.append(item)
    return out


def _all_in(items: list[Any], others: list[Any]) -> bool:
    return all(contains(items, other) for other in others)


def _insert(target: dict[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    if key in target:
        raise CelError(f"insert failed: key {key} already exists")
    return {**target, key: value}


def _insert_all(target: dict[Any, Any], more: dict[Any, Any]) -> dict[Any, Any]:
    for key, value in more.items():
        target = _insert(target, key, value)
    return target


def _set_cost(times: float) -> Callable[[Any, Any], int]:
    def cost(args: Any, result: Any) -> int:
        return int(len(args[0]) * len(args[1]) * times) + 1

    return cost


def overloads() -> list[Overload]:
    """Everything here."""
    walk, out = costs.walked, costs.listed

    def put(function: str, line: str, code: Any, cost: Any = None) -> Overload:
        return overload(function, line, code, cost, by_name=True)

    found = [
        put("indexOf", "list_a_index_of_int = list<T>.(T) -> int", _index_of, walk),
        put("lastIndexOf", "list_a_last_index_of_int = list<T>.(T) -> int", _last_index_of, walk),
        overload("slice", "list_slice = list<T>.(int, int) -> list<T>", _slice, out),
        overload("flatten", "list_flatten = list<list<T>>.() -> list<T>", _flatten, costs.flattened),
        overload("flatten", "list_flatten_int = list<dyn>.(int) -> list<dyn>", _flatten, costs.flattened),
        overload("lists.range", "lists_range = (int) -> list<int>", _range, out),
        overload("reverse", "list_reverse = list<T>.() -> list<T>", lambda items: items[::-1], out),
        overload("distinct", "list_distinct = list<T>.() -> list<T>", _distinct, costs.compared(0)),
        overload("sets.contains", "list_sets_contains_list = (list<T>, list<T>) -> bool", _all_in, _set_cost(1)),
        overload(
            "sets.equivalent",
            "list_sets_equivalent_list = (list<T>, list<T>) -> bool",
            lambda a, b: _all_in(a, b) and _all_in(b, a),
            _set_cost(2),
        ),
        overload(
            "sets.intersects",
            "list_sets_intersects_list = (list<T>, list<T>) -> bool",
            lambda a, b: any(contains(b, i) for i in a),
            _set_cost(1),
        ),
        overload("cel.@mapInsert", "@mapInsert_map_key_value = (map<K,V>, K, V) -> map<K,V>", _insert),
        overload("cel.@mapInsert", "@mapInsert_map_map = (map<K,V>, map<K,V>) -> map<K,V>", _insert_all),
    ]
    for kind in _COMPARABLE:
        found += [
            put("isSorted", f"list_{kind}_is_sorted_bool = list<{kind}>.() -> bool", _is_sorted, walk),
            put("max", f"list_{kind}_max_{kind} = list<{kind}>.() -> {kind}", _extreme("max"), walk),
            put("min", f"list_{kind}_min_{kind} = list<{kind}>.() -> {kind}", _extreme("min"), walk),
            overload("sort", f"list_{kind}_sort = list<{kind}>.() -> list<{kind}>", sorted, costs.compared(0)),
            overload(
                "@sortByAssociatedKeys",
                f"list_{kind}_sortByAssociatedKeys = list<T>.(list<{kind}>) -> list<T>",
                _sort_by,
                costs.compared(1),
            ),
        ]
    for kind, zero in _SUMMABLE.items():
        found.append(put("sum", f"list_{kind}_sum_{kind} = list<{kind}>.() -> {kind}", _sum(zero), walk))
    return found
