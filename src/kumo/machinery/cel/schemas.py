"""Types, sizes and values of objects that a schema describes (k8s.io/apiserver/pkg/cel/common, schemas and values)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from kumo.api.schema.formats import loose_duration
from kumo.machinery.cel import types
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.escaping import escaped
from kumo.machinery.cel.times import Duration, parse_date, parse_timestamp
from kumo.machinery.cel.types import Type
from kumo.machinery.cel.values import MapList, SetList

REQUEST_SIZE = 3 * 1024 * 1024
Schema = Mapping[str, Any]
Adapter = Callable[[Any], Any]
_STRING: Schema = {"type": "string"}
_NAMED_STRINGS: Mapping[str, tuple[Type, int, int]] = {
    "duration": (types.DURATION, 3, 32),
    "date": (types.TIMESTAMP, 12, 12),
    "date-time": (types.TIMESTAMP, 21, 32),
}
_SCALARS = {"boolean": (types.BOOL, 4), "number": (types.DOUBLE, 1), "integer": (types.INT, 1)}


class Declaration:
    """What expressions know of a schema: its type, the least size of its JSON, and how many elements it can have.

    `items` are those of a list or the values of a map; `keys` the keys of a map; `fields` those of an object, by their
    escaped names.
    """

    __slots__ = ("fields", "items", "keys", "least", "most", "type")

    def __init__(
        self,
        kind: Type,
        least: int,
        most: int = 0,
        items: Declaration | None = None,
        keys: Declaration | None = None,
        fields: Mapping[str, Declaration] | None = None,
    ) -> None:
        self.type = kind
        self.least = least
        self.most = most
        self.items = items
        self.keys = keys
        self.fields: Mapping[str, Declaration] = fields or {}


def root_schema(schema: Schema) -> Schema:
    """The schema of a whole object: with apiVersion, kind, and of metadata the names."""
    meta: Schema = {"type": "object", "properties": {"name": _STRING, "generateName": _STRING}}
    head = {"apiVersion": _STRING, "kind": _STRING, "metadata": meta}
    return {**schema, "properties": {**(schema.get("properties") or {}), **head}}


def declare(schema: Schema, name: str, root: bool = False) -> Declaration | None:
    """The declaration of a schema; None when nothing can be said of its values. `name` is that of its type."""
    if schema.get("x-kubernetes-int-or-string"):
        longest = schema.get("maxLength")
        return Declaration(types.DYN, 1, REQUEST_SIZE - 2 if longest is None else max(longest, 0) * 4)
    if root:
        schema = root_schema(schema)
    kind = schema.get("type")
    if kind == "array":
        return _list(schema, name)
    if kind == "object":
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            return _map(schema, more, name)
        return _object(schema, name)
    if kind == "string":
        return _string(schema)
    if kind in _SCALARS:
        return Declaration(*_SCALARS[kind])
    return None


def schema_type(schema: Schema, name: str = "object", root: bool = False) -> Type:
    """The type of values of an OpenAPI or structural schema; DYN when nothing can be said of them."""
    found = declare(schema, name, root)
    return found.type if found is not None else types.DYN


def _list(schema: Schema, name: str) -> Declaration | None:
    below = schema.get("items")
    if not isinstance(below, Mapping):
        return None
    items = declare(below, f"{name}.@idx", bool(below.get("x-kubernetes-embedded-resource")))
    if items is None:
        return None
    most = schema.get("maxItems")
    count = (REQUEST_SIZE - 2) // (items.least + 1) if most is None else max(most, 0)
    return Declaration(types.list_of(items.type), 2, count, items)


def _map(schema: Schema, below: Schema, name: str) -> Declaration | None:
    values = declare(below, f"{name}.@elem", bool(below.get("x-kubernetes-embedded-resource")))
    if values is None:
        return None
    most = schema.get("maxProperties")
    count = (REQUEST_SIZE - 2) // (values.least + 6) if most is None else max(most, 0)
    return Declaration(types.map_of(types.STRING, values.type), 2, count, values, Declaration(types.STRING, 2))


def _object(schema: Schema, name: str) -> Declaration:
    fields: dict[str, Declaration] = {}
    needed = set(schema.get("required") or ())
    least = 2
    for key, below in (schema.get("properties") or {}).items():
        spelled = escaped(key)
        found = declare(below, f"{name}.{spelled}", bool(below.get("x-kubernetes-embedded-resource")))
        if found is None:
            continue
        if spelled:
            fields[spelled] = found
        if key in needed and below.get("default") is None:
            least += len(key) + found.least + 4
    kinds = {key: found.type for key, found in fields.items()}
    return Declaration(types.struct(name, kinds, schema), least, 0, fields=fields)


def _string(schema: Schema) -> Declaration:
    form, longest = str(schema.get("format") or ""), schema.get("maxLength")
    if form == "byte":
        return Declaration(types.BYTES, 2, REQUEST_SIZE - 2 if longest is None else max(longest, 0))
    if form in _NAMED_STRINGS:
        return Declaration(*_NAMED_STRINGS[form])
    if longest is not None:
        return Declaration(types.STRING, 2, max(longest, 0) * 4)
    choices = schema.get("enum")
    if choices:
        return Declaration(types.STRING, 2, max(len(c.encode()) if isinstance(c, str) else 0 for c in choices))
    return Declaration(types.STRING, 2, REQUEST_SIZE - 2)


# -- values -----------------------------------------------------------------------------------------------------------


def adapter(schema: Schema) -> Adapter | None:
    """What makes CEL's values of JSON ones of that schema; None when they are the same.

    Numbers become doubles, formatted texts timestamps, durations and bytes, typed lists know their type. What the
    adapter gives shares with the original what did not have to change. It raises CelError for texts it can't read.
    """
    if schema.get("x-kubernetes-int-or-string"):
        return None
    kind = schema.get("type")
    if kind == "number":
        return lambda value: float(value) if type(value) is int else value
    if kind == "integer":
        return None
    if kind == "string":
        return _text_adapter(schema.get("format") or "")
    if kind == "array":
        return _list_adapter(schema)
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping):
        return _map_adapter(adapter(more))
    below = {}
    for key, child in (schema.get("properties") or {}).items():
        found = adapter(child)
        if found is not None:
            below[key] = found
    return _object_adapter(below) if below else None


def _duration(text: str) -> Duration:
    found = loose_duration(text)
    if found is None:
        raise ValueError(f'time: invalid duration "{text}"')
    return Duration(found)


def _text_adapter(form: str) -> Adapter | None:
    readers: Mapping[str, Callable[[str], Any]] = {
        "duration": _duration,
        "date": parse_date,
        "date-time": parse_timestamp,
        "byte": base64.b64decode,
    }
    read = readers.get(form)
    if read is None:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return read(value)
        except (ValueError, binascii.Error) as error:
            raise CelError(f"Invalid {form} {value}: {error}") from None

    return convert


def _list_adapter(schema: Schema) -> Adapter | None:
    items = schema.get("items")
    each = adapter(items) if isinstance(items, Mapping) else None
    kind = schema.get("x-kubernetes-list-type") or "atomic"
    if each is None and kind == "atomic":
        return None
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        found = value if each is None else [each(item) for item in value]
        if kind == "map":
            return MapList(found, keys)
        return SetList(found) if kind == "set" else found

    return convert


def _map_adapter(each: Adapter | None) -> Adapter | None:
    if each is None:
        return None
    return lambda value: {k: each(v) for k, v in value.items()} if isinstance(value, dict) else value


def _object_adapter(below: Mapping[str, Adapter]) -> Adapter:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        out = None
        for key, each in below.items():
            if key in value:
                old = value[key]
                new = each(old)
                if new is not old:
                    out = dict(value) if out is None else out
                    out[key] = new
        return value if out is None else out

    return convert
