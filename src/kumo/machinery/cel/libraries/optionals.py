"""Optional values (cel-go's optional types)."""

from __future__ import annotations

from typing import Any

from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.values import NOTHING, Optional, some


def _zero(value: Any) -> bool:
    return value is None or (not isinstance(value, Optional) and not value) or getattr(value, "ns", 1) == 0


def _value(found: Optional[Any]) -> Any:
    if not found.present:
        raise CelError("optional.none() dereference")
    return found.value


def _unwrapped(items: list[Any]) -> list[Any]:
    return [item.value for item in items if item.present]


def overloads() -> list[Overload]:
    """Everything here; `or`, `orValue` and the operators `.?` and `[?]` are the compiler's."""
    wrap = "optional"
    return [
        overload("optional.of", f"optional_of = (V) -> {wrap}<V>", some),
        overload(
            "optional.ofNonZeroValue",
            f"optional_ofNonZeroValue = (V) -> {wrap}<V>",
            lambda v: NOTHING if _zero(v) else some(v),
        ),
        overload("optional.none", f"optional_none = () -> {wrap}<V>", lambda: NOTHING),
        overload("value", f"optional_value = {wrap}<V>.() -> V", _value),
        overload("hasValue", f"optional_hasValue = {wrap}<V>.() -> bool", lambda o: o.present),
        overload("or", f"optional_or_optional = {wrap}<V>.({wrap}<V>) -> {wrap}<V>", lambda a, b: a),
        overload("orValue", f"optional_orValue_value = {wrap}<V>.(V) -> V", lambda a, b: a),
        overload("first", f"list_first = list<V>.() -> {wrap}<V>", lambda v: some(v[0]) if v else NOTHING),
        overload("last", f"list_last = list<V>.() -> {wrap}<V>", lambda v: some(v[-1]) if v else NOTHING),
        overload("optional.unwrap", f"optional_unwrap = (list<{wrap}<V>>) -> list<V>", _unwrapped),
        overload("unwrapOpt", f"optional_unwrapOpt = list<{wrap}<V>>.() -> list<V>", _unwrapped),
        overload("_?._", f"select_optional_field = (dyn, string) -> {wrap}<V>", _value),
        overload("_[?_]", f"list_optindex_optional_int = (list<V>, int) -> {wrap}<V>", _value),
        overload("_[?_]", f"optional_list_optindex_optional_int = ({wrap}<list<V>>, int) -> {wrap}<V>", _value),
        overload("_[?_]", f"map_optindex_optional_value = (map<K,V>, K) -> {wrap}<V>", _value),
        overload("_[?_]", f"optional_map_optindex_optional_value = ({wrap}<map<K,V>>, K) -> {wrap}<V>", _value),
        overload("_[_]", f"optional_list_index_int = ({wrap}<list<V>>, int) -> {wrap}<V>", _value),
        overload("_[_]", f"optional_map_index_value = ({wrap}<map<K,V>>, K) -> {wrap}<V>", _value),
    ]
