"""The OpenAPI v2 document in the binary form that kubectl asks for when it checks a list of objects by itself.

Clients ask for `application/com.github.proto-openapi.spec.v2@v1.0+protobuf` and are answered with that name less its
`@`, which no media type may have. The messages are gnostic's openapiv2; their field numbers are the interface. Values
of any shape (extensions, defaults) are YAML text in it, and JSON is YAML.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kumo.kubernetes.apiserver.protobuf.varint import varint

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_SCHEMA_TEXT = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_SCHEMA_WHOLE = {"maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15, "maxProperties": 17}
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_PARAMETER_FORMS = {"query": (3, {"required": 1, "in": 2, "description": 3, "name": 4, "type": 6, "uniqueItems": 20})}
_PARAMETER_FORMS["path"] = (4, {"required": 1, "in": 2, "description": 3, "name": 4, "type": 5, "uniqueItems": 19})
_BODY_PARAMETER = {"description": 1, "name": 2, "in": 3, "required": 4}


def encode(document: Mapping[str, Any]) -> bytes:
    """The document, given as its JSON form."""
    info = document["info"]
    parts = [
        _text(1, document["swagger"]),
        _message(2, _text(1, info["title"]) + _text(2, info["version"])),
        _message(8, b"".join(_message(2, _named(n, _path_item(v))) for n, v in document["paths"].items())),
        _message(9, b"".join(_message(1, _named(n, _schema(v))) for n, v in document["definitions"].items())),
    ]
    return b"".join(parts)


def _message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def _text(number: int, value: str) -> bytes:
    return _message(number, value.encode())


def _whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _message(2, value)


def _scalars(numbers: Mapping[str, int], source: Mapping[str, Any]) -> bytes:
    """Texts and truth values of the source, each at its number; false and empty ones are left out."""
    found = ((number, source[key]) for key, number in numbers.items() if source.get(key))
    return b"".join(_text(n, v) if isinstance(v, str) else _whole(n, int(v)) for n, v in found)


def _extensions(number: int, source: Mapping[str, Any]) -> bytes:
    """The `x-...` members, as named values in YAML."""
    found = ((key, value) for key, value in source.items() if key.startswith("x-"))
    return b"".join(_message(number, _named(k, _message(2, msgspec.json.encode(v)))) for k, v in found)


def _texts(number: int, values: Iterable[str]) -> bytes:
    return b"".join(_text(number, v) for v in values)


def _schema(schema: Mapping[str, Any]) -> bytes:
    out = _scalars(_SCHEMA_TEXT, schema)
    out += b"".join(_whole(number, schema[key]) for key, number in _SCHEMA_WHOLE.items() if key in schema)
    out += _texts(19, schema.get("required") or ())
    more = schema.get("additionalProperties")
    if isinstance(more, bool):
        out += _message(21, _whole(2, int(more)))
    elif more is not None:
        out += _message(21, _message(1, _schema(more)))
    kinds = schema.get("type")
    if kinds:
        out += _message(22, _texts(1, [kinds] if isinstance(kinds, str) else kinds))
    if "items" in schema:
        out += _message(23, _message(1, _schema(schema["items"])))
    out += b"".join(_message(24, _schema(s)) for s in schema.get("allOf") or ())
    properties = schema.get("properties")
    if properties:
        out += _message(25, b"".join(_message(1, _named(n, _schema(v))) for n, v in properties.items()))
    return out + _extensions(31, schema)


def _path_item(item: Mapping[str, Any]) -> bytes:
    out = b"".join(_message(number, _operation(item[m])) for m, number in _METHODS.items() if m in item)
    return out + b"".join(_message(9, _message(1, _parameter(p))) for p in item.get("parameters") or ())


def _operation(operation: Mapping[str, Any]) -> bytes:
    out = _texts(1, operation.get("tags") or ())
    out += _scalars({"description": 3, "operationId": 5}, operation)
    out += _texts(6, operation.get("produces") or ()) + _texts(7, operation.get("consumes") or ())
    out += b"".join(_message(8, _message(1, _parameter(p))) for p in operation.get("parameters") or ())
    codes = (operation.get("responses") or {}).items()
    responses = b"".join(_message(1, _named(code, _message(1, _response(answer)))) for code, answer in codes)
    return out + _message(9, responses) + _extensions(13, operation)


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    if parameter["in"] == "body":
        body = _scalars(_BODY_PARAMETER, parameter) + _message(5, _schema(parameter.get("schema") or {}))
        return _message(1, body)
    form, numbers = _PARAMETER_FORMS[parameter["in"]]
    return _message(2, _message(form, _scalars(numbers, parameter)))


def _response(answer: Mapping[str, Any]) -> bytes:
    out = _scalars({"description": 1}, answer)
    if "schema" in answer:
        out += _message(2, _message(1, _schema(answer["schema"])))
    return out
