"""The protobuf wire format of the few messages of KMS plugins and of what is stored: fields by number."""

from __future__ import annotations

from collections.abc import Mapping

from kumo.kubernetes.apiserver.protobuf.varint import varint

Field = bytes | str | int | Mapping[str, bytes]
_LENGTH, _VARINT, _FIXED64, _FIXED32 = 2, 0, 1, 5


class WireError(Exception):
    """The bytes are no protobuf message."""


def encode(fields: Mapping[int, Field]) -> bytes:
    """A message; what is empty or zero is left out (proto3). A mapping is a `map<string, bytes>`."""
    out = bytearray()
    for number, value in fields.items():
        if isinstance(value, Mapping):
            for key, inner in sorted(value.items()):
                _piece(out, number, encode({1: key, 2: inner}))
        elif isinstance(value, int):
            if value:
                out += varint(number << 3 | _VARINT) + varint(value)
        elif value:
            _piece(out, number, value.encode() if isinstance(value, str) else value)
    return bytes(out)


def _piece(out: bytearray, number: int, data: bytes) -> None:
    out += varint(number << 3 | _LENGTH) + varint(len(data)) + data


def decode(data: bytes) -> dict[int, list[bytes | int]]:
    """The fields of a message, each with all of its values. Raises WireError."""
    found: dict[int, list[bytes | int]] = {}
    at = 0
    while at < len(data):
        tag, at = _read(data, at)
        kind, value = tag & 7, 0
        if kind == _VARINT:
            value, at = _read(data, at)
            found.setdefault(tag >> 3, []).append(value)
            continue
        length = 0
        if kind == _LENGTH:
            length, at = _read(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise WireError(f"unknown wire type {kind}")
        if at + length > len(data):
            raise WireError("unexpected EOF")
        found.setdefault(tag >> 3, []).append(data[at : at + length])
        at += length
    return found


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("unexpected EOF")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def blob(message: Mapping[int, list[bytes | int]], number: int) -> bytes:
    """The last value of a field of bytes, empty if there is none. Raises WireError."""
    value = message.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise WireError(f"field {number} is no bytes")
    return value


def text(message: Mapping[int, list[bytes | int]], number: int) -> str:
    """The same of a text. Raises WireError."""
    try:
        return blob(message, number).decode()
    except UnicodeDecodeError:
        raise WireError(f"field {number} is not UTF-8") from None


def number(message: Mapping[int, list[bytes | int]], field: int) -> int:
    """The same of a number. Raises WireError."""
    value = message.get(field, [0])[-1]
    if not isinstance(value, int):
        raise WireError(f"field {field} is no number")
    return value


def mapping(message: Mapping[int, list[bytes | int]], field: int) -> dict[str, bytes]:
    """A `map<string, bytes>`. Raises WireError."""
    found: dict[str, bytes] = {}
    for entry in message.get(field, []):
        if not isinstance(entry, bytes):
            raise WireError(f"field {field} is no map")
        inner = decode(entry)
        found[text(inner, 1)] = blob(inner, 2)
    return found
