"""Values while an expression is evaluated.

bool, int, float, str, bytes, None, list and dict stand for themselves; `Uint`, `Timestamp`, `Duration`, `Optional`,
types (`Type`) and the libraries' own classes are added. A library's class has the attribute `cel_type`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from kumo.machinery.cel import types
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.numbers import Uint
from kumo.machinery.cel.times import Duration, Timestamp

T = TypeVar("T")


class Optional(Generic[T]):
    """An optional value; `present` says whether there is one."""

    __slots__ = ("present", "value")

    def __init__(self, value: T | None = None, present: bool = False) -> None:
        self.value = value
        self.present = present


NOTHING: Optional[Any] = Optional()


def some(value: Any) -> Optional[Any]:
    """`optional.of(value)`."""
    return Optional(value, True)


class Lazy(Mapping[str, Any]):
    """An object whose fields are computed when first asked for (`variables` of policies).

    `fields` gives a function for each name; what it returns is kept, what it raises (CelError) is raised again.
    """

    def __init__(self, fields: Mapping[str, Callable[[], Any]]) -> None:
        self._fields = fields
        self._known: dict[str, Any] = {}
        self._failed: dict[str, CelError] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        if name in self._failed:
            raise self._failed[name]
        try:
            found = self._known[name] = self._fields[name]()
        except CelError as error:
            self._failed[name] = error
            raise
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Defaulted(dict[str, Any]):
    """A map whose missing keys are looked up as an empty map, although it does not contain them."""

    __slots__ = ()

    def __missing__(self, key: str) -> Any:
        return {}


class SetList(list[Any]):
    """A list of `x-kubernetes-list-type: set`: equal in any order, added as a union."""

    __slots__ = ()


class MapList(list[Any]):
    """A list of `x-kubernetes-list-type: map`: equal in any order, added by replacing items of the same key."""

    __slots__ = ("keys",)

    def __init__(self, items: list[Any], keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def key_of(self, item: Any) -> tuple[Any, ...]:
        """What tells an item apart."""
        return tuple(item.get(k) if isinstance(item, dict) else None for k in self.keys)


_PLAIN: dict[type, types.Type] = {
    bool: types.BOOL,
    int: types.INT,
    Uint: types.UINT,
    float: types.DOUBLE,
    str: types.STRING,
    bytes: types.BYTES,
    type(None): types.Type("null", "null_type"),
    list: types.Type("list", "list"),
    SetList: types.Type("list", "list"),
    MapList: types.Type("list", "list"),
    dict: types.Type("map", "map"),
    Defaulted: types.Type("map", "map"),
    Lazy: types.Type("map", "map"),
    Timestamp: types.Type("timestamp", "google.protobuf.Timestamp"),
    Duration: types.Type("duration", "google.protobuf.Duration"),
    Optional: types.Type("opaque", "optional_type"),
    types.Type: types.TYPE,
}
_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "uint": (Uint,),
    "double": (float,),
    "string": (str,),
    "bytes": (bytes,),
    "null": (type(None),),
    "list": (list, SetList, MapList),
    "map": (dict, Lazy, Defaulted),
    "timestamp": (Timestamp,),
    "duration": (Duration,),
    "type": (types.Type,),
}


def type_of_value(value: Any) -> types.Type:
    """The run-time type of a value (without parameters)."""
    found = _PLAIN.get(type(value))
    return found if found is not None else getattr(value, "cel_type", types.DYN)


def fits(value: Any, wanted: types.Type) -> bool:
    """Whether a value can be an argument of that type, as far as its own kind tells."""
    kind = wanted.kind
    if kind in ("dyn", "param"):
        return True
    plain = _KINDS.get(kind)
    if plain is not None:
        return type(value) in plain
    if wanted.name == "optional_type":
        return type(value) is Optional
    if kind == "struct" and type(value) is dict:
        return True
    return type_of_value(value).name == wanted.name


def equal(left: Any, right: Any) -> bool:
    """CEL's `==`: numbers by value, containers by their parts, everything else only within its type."""
    kind, other = type(left), type(right)
    if kind is other:
        if kind in (str, int, bool, bytes):
            return bool(left == right)
        if kind is dict:
            return len(left) == len(right) and all(k in right and equal(v, right[k]) for k, v in left.items())
        if kind is list:
            return len(left) == len(right) and all(map(equal, left, right))
        if kind is types.Type:
            return left.kind == right.kind and (left.kind not in ("struct", "opaque") or left.name == right.name)
        if kind is Optional:
            return left.present == right.present and (not left.present or equal(left.value, right.value))
    if kind in (int, float, Uint) and other in (int, float, Uint):
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return _equal_lists(left, right)
    return kind is other and bool(left == right)


def _equal_lists(left: list[Any], right: list[Any]) -> bool:
    if len(left) != len(right):
        return False
    if isinstance(left, MapList):
        theirs = {_hashable(left.key_of(item)): item for item in right}
        return all(_hashable(left.key_of(i)) in theirs and equal(i, theirs[_hashable(left.key_of(i))]) for i in left)
    if isinstance(left, SetList):
        return all(any(equal(i, j) for j in right) for i in left)
    return all(map(equal, left, right))


def _hashable(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((type(part).__name__, part if part.__hash__ else str(part)) for part in key)


def added_lists(left: list[Any], right: list[Any]) -> list[Any]:
    """`left + right`, by the rules of the left list's type."""
    if isinstance(left, MapList):
        at = {_hashable(left.key_of(item)): i for i, item in enumerate(left)}
        out = MapList(list(left), left.keys)
        for item in right:
            key = _hashable(left.key_of(item))
            if key in at:
                out[at[key]] = item
            else:
                at[key] = len(out)
                out.append(item)
        return out
    if isinstance(left, SetList):
        merged = SetList(left)
        merged.extend(item for item in right if not any(equal(item, mine) for mine in left))
        return merged
    return [*left, *right]


def contains(items: Any, value: Any) -> bool:
    """CEL's `in`."""
    if isinstance(items, dict | Lazy):
        try:
            return value in items and (type(value) is not bool or any(k is value for k in items))
        except TypeError:
            return False
    if type(value) is str:
        return value in items
    return any(equal(value, item) for item in items)


def size(value: Any) -> int:
    """The size that costs are counted by: characters, bytes, items or entries, 1 for the rest."""
    if isinstance(value, str | bytes | list | dict | Lazy):
        return len(value)
    if type(value) is Optional and value.present:
        return size(value.value)
    if isinstance(value, Optional):
        return 1
    found = getattr(value, "cel_size", None)
    return found if found is not None else 1


def traversal_cost(value: Any) -> int:
    """What it costs to walk a whole value."""
    if isinstance(value, str):
        return int(len(value.encode()) * 0.1)
    if isinstance(value, bytes):
        return int(len(value) * 0.1)
    if isinstance(value, list):
        return sum(map(traversal_cost, value))
    if isinstance(value, dict):
        return sum(traversal_cost(k) + traversal_cost(v) for k, v in value.items())
    return 1


def to_json(value: Any) -> Any:
    """The value in JSON's shapes; what JSON has not becomes its text. Raises CelError for what has none."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CelError(f"json: unsupported value: {value}")
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if type(value) is Optional:
        return to_json(value.value) if value.present else None
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    return str(value)
