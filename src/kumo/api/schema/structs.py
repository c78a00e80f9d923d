"""The quick way to decode: msgspec structs made from the nodes.

`msgspec.convert` into a struct that forbids unknown fields checks a whole object in C, and `to_builtins` gives it back
as a dictionary in canonical order without nulls. Refusals are left to `kumo.api.schema.decoding` to explain. With
`zeros`, empty values are dropped or added as Go does it (`kumo.api.schema.zeros`).
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from types import GenericAlias
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kumo.api import quantities
from kumo.api.schema.decoding import TIME, canonical_base64, canonical_micro_time, canonical_time
from kumo.api.schema.nodes import Node
from kumo.api.schema.zeros import zeros_of


class _Quantity(str):
    __slots__ = ()


class _Time(str):
    __slots__ = ()


class _MicroTime(str):
    __slots__ = ()


class _Bytes(str):
    __slots__ = ()


_NO_BYTES = _Bytes("")  # The one that is left out: structs compare defaults by identity.
_INT32 = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)]
_INT64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_SCALARS: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "number": int | float,
    "int-or-string": int | str,
    "quantity": _Quantity,
    "time": _Time,
    "micro-time": _MicroTime,
    "bytes": _Bytes,
    "any": Any,
}


def read_text(kind: type, value: Any) -> Any:
    """`dec_hook`: a quantity, time or base64 text in canonical form. Raises ValueError, also for what is no text."""
    if kind is _Quantity:
        return _Quantity(quantities.canonical(str(value) if type(value) is int else _string(value)))
    text = _string(value)
    if kind is _Time:
        if not (len(text) == 20 and TIME.fullmatch(text)):
            text = canonical_time(text)
        return _Time(text)
    if kind is _MicroTime:
        return _MicroTime(canonical_micro_time(text))
    text = canonical_base64(text)
    return _Bytes(text) if text else _NO_BYTES


def _string(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("not a text")
    return value


def write_text(value: Any) -> str:
    """`enc_hook`: the plain text of what `read_text` made."""
    return str(value)


def _zero_text() -> str:
    return ""


def _zero_number() -> int:
    return 0


def _zero_boolean() -> bool:
    return False


def _zero_quantity() -> _Quantity:
    return _Quantity("0")


_SHOWN: dict[str, Any] = {
    "s": _zero_text,
    "i": _zero_number,
    "b": _zero_boolean,
    "q": _zero_quantity,
    "n": _zero_number,
}
_DROPPED: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "bytes": _NO_BYTES}


def _no_value() -> None:
    return None


def _emptied(names: tuple[str, ...]) -> Callable[[Any], None]:
    """A `__post_init__` that makes null of empty lists and maps: what the store's protobuf makes of them upstream."""

    def empty(made: Any) -> None:
        for name in names:
            if not getattr(made, name):
                setattr(made, name, None)

    return empty


class Structs:
    """The struct types of nodes, each made once; kinds share those of the types they share."""

    def __init__(self, *, zeros: bool = False) -> None:
        self._zeros = zeros
        self._made: dict[str, Any] = {}
        self._making: list[str] = []

    def type_of(self, node: Node) -> Any:
        """The type that `msgspec.convert` takes for that node."""
        if node.type == "object":
            return self._struct(node)
        if node.type == "map":
            return GenericAlias(dict, (str, self.type_of(node.values) if node.values else Any))
        if node.type == "array":
            return GenericAlias(list, (self.type_of(node.items) if node.items else Any,))
        if node.type == "integer":
            return _INT32 if node.format == "int32" else _INT64
        return _SCALARS[node.type]

    def _struct(self, node: Node) -> Any:
        name = f"{node.schema.get('x-kumo-name') or ''}{node.package}_{node.name}_{id(node.schema)}"
        if name in self._made:
            return self._made[name]
        if name in self._making:
            return f"{name} | None"
        self._making.append(name)
        fields: list[tuple[str, Any, Any]] = []
        renamed: dict[str, str] = {}
        nullable: list[str] = []
        recursive = False
        zeros = zeros_of(node.definition) if self._zeros else {}
        for key, child in node.fields.items():
            attribute = "f_" + key.replace("-", "_").replace("$", "_")
            if keyword.iskeyword(attribute) or attribute in renamed:
                attribute += f"_{len(renamed)}"
            renamed[attribute] = key
            wanted = self.type_of(child)
            recursive = recursive or name in repr(wanted)
            fields.append(_field(attribute, wanted, child, zeros.get(key, "")))
            if zeros.get(key) == "l" and not isinstance(wanted, str):
                nullable.append(attribute)
        self._making.pop()
        made = msgspec.defstruct(
            name.replace("-", "_").replace(".", "_"),
            fields,
            rename=renamed,
            forbid_unknown_fields=True,
            omit_defaults=True,
            gc=False,
            namespace=({name: None} if recursive else {})
            | ({"__post_init__": _emptied(tuple(nullable))} if nullable else {}),
        )
        if recursive:
            setattr(made, name, made)
        self._made[name] = made
        return made


def _field(name: str, wanted: Any, node: Node, mark: str) -> tuple[str, Any, Any]:
    """A struct's field: its type, and the default that is left out, or made anew and shown."""
    if isinstance(wanted, str):
        return name, wanted, None
    if mark == "-":
        if node.type == "array":
            return name, wanted, msgspec.field(default_factory=list)
        if node.type == "map":
            return name, wanted, msgspec.field(default_factory=dict)
        if node.type in _DROPPED:
            return name, wanted, _DROPPED[node.type]
    elif mark == "o" and node.type == "object" and isinstance(wanted, type):
        return name, wanted, msgspec.field(default_factory=lambda: wanted())
    elif mark in _SHOWN:
        return name, wanted, msgspec.field(default_factory=_SHOWN[mark])
    elif mark in ("l", "p", "t"):
        return name, wanted | None, msgspec.field(default_factory=_no_value)
    return name, wanted | None, None
