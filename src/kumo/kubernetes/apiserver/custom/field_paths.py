"""Paths of fields in schemas, as rules and selectable fields name them (`.spec.a`, `.spec['b-c']`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}
_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]']+|'")


def _unescaped(text: str) -> str:
    def put(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise ValueError(f"invalid string literal: invalid escape char {match[0]}")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", put, text, flags=re.DOTALL)


def find_field(path: str, schema: Schema, brackets: bool = True) -> tuple[str, Schema]:
    """The path as field errors write it (`spec.a`, `spec.m[k]`), and the schema there. Raises ValueError."""
    written = ""
    found: Schema = schema
    tokens = iter(_TOKEN.findall(path))
    for token in tokens:
        if token not in (".", "["):
            raise ValueError(f"expected [ or . but got: {token}")
        if token == "[" and not brackets:
            raise ValueError("array notation is not allowed")
        name = next(tokens, None)
        if name is None:
            raise ValueError("unexpected end of JSON path")
        if token == "[":
            if len(name) < 2 or name[0] != "'" or name[-1] != "'":
                raise ValueError(f"expected single quoted string but got {name}")
            name = _unescaped(name[1:-1])
        written, found = _step(written, found, name)
        if token == "[":
            closing = next(tokens, None)
            if closing is None:
                raise ValueError("unexpected end of JSON path")
            if closing != "]":
                raise ValueError(f"expected ] but got {closing}")
    return written, found


def _step(written: str, schema: Schema, name: str) -> tuple[str, Schema]:
    properties = schema.get("properties")
    more = schema.get("additionalProperties")
    if properties is not None:
        if name not in properties:
            raise ValueError("does not refer to a valid field")
        return (f"{written}.{name}" if written else name), properties[name]
    if isinstance(more, Mapping):
        return f"{written}[{name}]", more
    raise ValueError("does not refer to a valid field")
