"""Formats in the schemas of a definition that nobody checks; the definition's writer is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.api.objects import Object

_TEXTS = (
    "bsonobjectid", "uri", "email", "hostname", "ipv4", "ipv6", "cidr", "mac",
    "uuid", "uuid3", "uuid4", "uuid5", "isbn", "isbn10", "isbn13", "creditcard",
    "ssn", "hexcolor", "rgbcolor", "byte", "password", "date", "duration", "datetime",
    "k8sshortname", "k8slongname",
)  # fmt: skip
_KNOWN = {"integer": ("int32", "int64"), "number": ("float", "double")}
_ONE = ("items", "additionalProperties", "not", "additionalItems")
_LISTS = ("allOf", "anyOf", "oneOf")
_MAPS = ("properties", "patternProperties", "definitions")


def unknown_formats(definition: Object) -> list[str]:
    """The formats of all versions' schemas that are not known for the type that they stand at."""
    found: list[str] = []
    for version in (definition.get("spec") or {}).get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        for part in _parts(schema) if isinstance(schema, dict) else ():
            name, kind = part.get("format") or "", part.get("type") or ""
            if name and not _known(name, kind):
                found.append(name)
    return found


def _known(name: str, kind: str) -> bool:
    if kind in ("", "string"):
        return name.replace("-", "") in _TEXTS
    return name in _KNOWN.get(kind, ())


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema and all schemas in it."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        yield part
        below = [part.get(key) for key in _ONE]
        for key in _LISTS:
            below += part.get(key) or ()
        for key in _MAPS:
            below += (part.get(key) or {}).values()
        waiting += [item for item in reversed(below) if isinstance(item, dict)]
