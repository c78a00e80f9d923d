"""Protobuf's wire format into JSON-shaped values, by Kubernetes' conventions.

A body is the magic `k8s\\0` and a `runtime.Unknown`: apiVersion and kind, and the object's own message.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.protobuf.table import Field, fields_of

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_NOTHING = object()
_DEPTH = 64
_GO_ZERO = -62_135_596_800
"""1 January of the year 1: what Go holds for no time."""


class ProtobufError(ValueError):
    """The bytes are no message of the kind they say they are."""


def decode(data: bytes) -> Object:
    """The object in a body. Raises ProtobufError."""
    if not data.startswith(_MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        parts = dict(_fields(memoryview(data)[4:]))
        about = dict(_fields(parts.get(1, memoryview(b""))))
        version, kind = _text(about.get(1, b"")), _text(about.get(2, b""))
        body = _message(_name(version, kind), parts.get(2, memoryview(b"")), 0)
    except (IndexError, struct.error, TypeError, UnicodeDecodeError, OverflowError) as error:
        raise ProtobufError(f"proto: {error}") from None
    return {"apiVersion": version, "kind": kind, **body}


def _name(version: str, kind: str) -> str:
    if kind in ("DeleteOptions", "CreateOptions", "PatchOptions", "UpdateOptions", "ListOptions"):
        return f"meta.v1.{kind}"
    group, _, short = version.rpartition("/")
    found = f"{group.split('.')[0] or 'core'}.{short}.{kind}"
    try:
        fields_of(found)
    except KeyError:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{version}" in protobuf') from None
    return found


def _text(value: Any) -> str:
    return bytes(value).decode()


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise ProtobufError("proto: integer overflow")


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """The number and raw value of each field: an int, or the bytes of what has a length. Raises IndexError if cut."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > end:
                raise ProtobufError("unexpected EOF")
            yield number, data[at : at + length]
            at += length
        elif wire == 1:
            yield number, struct.unpack_from("<d", data, at)[0]
            at += 8
        elif wire == 5:
            yield number, struct.unpack_from("<f", data, at)[0]
            at += 4
        else:
            raise ProtobufError(f"proto: illegal wireType {wire}")


def _message(name: str, data: memoryview, depth: int) -> Object:
    if depth > _DEPTH:
        raise ProtobufError("proto: exceeded max depth")
    found: Object = {}
    known = fields_of(name)
    for number, raw in _fields(data):
        field = known.get(number)
        if field is not None:
            _add(found, field, raw, depth)
    return found


def _add(found: Object, field: Field, raw: Any, depth: int) -> None:
    if field.shape.startswith("%"):
        entry = dict(_fields(raw))
        key = _text(entry.get(1, b""))
        if field.shape == "%=":
            value: Any = [_value(field.type, v, depth) for n, v in _fields(entry.get(2, memoryview(b""))) if n == 1]
        else:
            value = _value(field.type, entry.get(2, _zero(field.type)), depth)
        found.setdefault(field.name, {})[key] = value
        return
    value = _value(field.type, raw, depth)
    if field.shape == "*":
        found.setdefault(field.name, []).append(value)
    elif field.shape == "=":
        found[field.name] = [_value(field.type, v, depth) for n, v in _fields(raw) if n == 1]
    elif not field.name:
        found.update(value)
    elif value is not _NOTHING and not (field.drop and not value):
        found[field.name] = value


def _zero(kind: str) -> Any:
    return 0 if kind in ("i", "b") else 0.0 if kind == "d" else memoryview(b"")


def _value(kind: str, raw: Any, depth: int) -> Any:
    if kind == "s":
        return _text(raw)
    if kind == "i":
        return raw - (1 << 64) if raw >> 63 else raw
    if kind == "b":
        return bool(raw)
    if kind == "d":
        return int(raw) if float(raw).is_integer() else float(raw)  # Go's JSON has no 5.0.
    if kind == "y":
        return base64.b64encode(raw).decode()
    if kind.startswith("SchemaOr"):
        return _schema_or(kind, raw, depth)
    special = _SPECIAL.get(kind)
    return special(raw) if special is not None else _message(kind, raw, depth + 1)


def _schema_or(kind: str, raw: memoryview, depth: int) -> Any:
    """One of the unions of JSON Schema in a CustomResourceDefinition: a schema, or a list, strings or a boolean."""
    found = list(_fields(raw))
    schema = 2 if kind == "SchemaOrBool" else 1
    for number, value in found:
        if number == schema:
            return _value("apiextensions.v1.JSONSchemaProps", value, depth)
    if kind == "SchemaOrBool":
        return any(number == 1 and value for number, value in found)
    inner = "s" if kind == "SchemaOrStrings" else "apiextensions.v1.JSONSchemaProps"
    return [_value(inner, value, depth) for number, value in found if number == 2]


def _moment(raw: memoryview) -> datetime | None:
    parts = dict(_fields(raw))
    seconds, nanos = _value("i", parts.get(1, 0), 0), parts.get(2, 0)
    if not parts or (seconds == _GO_ZERO and not nanos):
        return None
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds, microseconds=nanos // 1000)


def _time(raw: memoryview) -> Any:
    moment = _moment(raw)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z" if moment else _NOTHING


def _micro_time(raw: memoryview) -> Any:
    moment = _moment(raw)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z" if moment else _NOTHING


def _quantity(raw: memoryview) -> str:
    return _text(dict(_fields(raw)).get(1, b"")) or "0"


def _int_or_string(raw: memoryview) -> int | str:
    parts = dict(_fields(raw))
    if parts.get(1, 0) == 0:
        return int(_value("i", parts.get(2, 0), 0))
    return _text(parts.get(3, b""))


def _duration(raw: memoryview) -> str:
    return f"{_value('i', dict(_fields(raw)).get(1, 0), 0) / 1e9:g}s"


def _embedded_json(raw: memoryview) -> Any:
    data = bytes(dict(_fields(raw)).get(1, b""))
    if not data:
        return _NOTHING
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise ProtobufError(str(error)) from None


_SPECIAL: dict[str, Callable[[memoryview], Any]] = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "Duration": _duration,
    "RawExtension": _embedded_json,
    "FieldsV1": _embedded_json,
}
