"""The types of CEL (cel-spec), and the object types that schemas declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any


class Type:
    """A type: `kind` (`int`, `list`, `struct`, `opaque`, `param`, ...), `name` as messages show it, its parameters.

    Equal types are equal in kind, name and parameters. For a `struct`, `fields` gives its fields' types by their
    (escaped) CEL names.
    """

    __slots__ = ("_fields", "_hash", "kind", "lasting", "name", "parameters", "schema")

    def __init__(
        self,
        kind: str,
        name: str,
        parameters: tuple[Type, ...] = (),
        fields: Mapping[str, Type] | Callable[[], Mapping[str, Type]] | None = None,
        schema: Any = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.parameters = parameters
        self._fields = fields
        self._hash = hash((kind, name, parameters))
        self.schema = schema
        """The schema it was derived from, if any."""
        self.lasting: bool = fields is None and all(p.lasting for p in parameters)
        """Whether its name says all: two structs of one name, from two schemas, have other fields."""

    @property
    def fields(self) -> Mapping[str, Type]:
        """The fields of a struct by name; empty for other types."""
        if callable(self._fields):
            self._fields = self._fields()
        return self._fields or {}

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Type)
            and self._hash == other._hash
            and self.kind == other.kind
            and self.name == other.name
            and self.parameters == other.parameters
        )

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        """The type as cel-go's messages show it: `list(string)`, `map(string, dyn)`, `!error!`."""
        if self.kind == "opaque" and self.name == "function":
            arguments = ", ".join(map(str, self.parameters[1:]))
            return f"({arguments}) -> {self.parameters[0]}"
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parameters))})"

    def __repr__(self) -> str:
        return f"Type({self})"


DYN = Type("dyn", "dyn")
BOOL = Type("bool", "bool")
INT = Type("int", "int")
UINT = Type("uint", "uint")
DOUBLE = Type("double", "double")
STRING = Type("string", "string")
BYTES = Type("bytes", "bytes")
NULL = Type("null", "null")
TIMESTAMP = Type("timestamp", "timestamp")
DURATION = Type("duration", "duration")
ERROR = Type("error", "!error!")
TYPE = Type("type", "type")


@lru_cache(maxsize=1024)
def _known(kind: str, name: str, parameters: tuple[Type, ...]) -> Type:
    return Type(kind, name, parameters)


def _of(kind: str, name: str, *parameters: Type) -> Type:
    """A type of others: the same one again, unless a struct is among them."""
    return _known(kind, name, parameters) if all(p.lasting for p in parameters) else Type(kind, name, parameters)


def list_of(items: Type) -> Type:
    """`list(items)`."""
    return _of("list", "list", items)


def map_of(keys: Type, values: Type) -> Type:
    """`map(keys, values)`."""
    return _of("map", "map", keys, values)


def optional_of(inner: Type) -> Type:
    """`optional_type(inner)`."""
    return _of("opaque", "optional_type", inner)


def type_of(inner: Type) -> Type:
    """`type(inner)`: the type of a type's name."""
    return _of("type", "type", inner)


def parameter(name: str) -> Type:
    """A type parameter of an overload, or a free type variable of the checker."""
    return Type("param", name)


def opaque(name: str, *parameters: Type) -> Type:
    """An abstract type of a library, known by its name."""
    return Type("opaque", name, parameters)


def struct(name: str, fields: Mapping[str, Type] | Callable[[], Mapping[str, Type]], schema: Any = None) -> Type:
    """An object type with named fields; `fields` may be a function, called when the fields are first needed."""
    return Type("struct", name, (), fields, schema)


DYN_LIST = list_of(DYN)
DYN_MAP = map_of(STRING, DYN)
AUTHORIZER = struct("kubernetes.authorization.Authorizer", {})
RESOURCE_CHECK = struct("kubernetes.authorization.ResourceCheck", {})
