"""Checks of request bodies against a small part of JSON Schema, with the sentences that clients know.

Understands type, required, properties, additionalProperties, patternless items, enum, lengths, bounds and pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from kumo.openstack.common.errors import ApiError

Schema = Mapping[str, Any]


class Complaint(NamedTuple):
    """What is wrong: the field's name (empty at the top), its value, and the sentence."""

    field: str
    value: Any
    message: str


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    types: dict[str, tuple[type, ...]] = {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "null": (type(None),),
    }
    return kind in types and isinstance(value, types[kind])


def _type_rule(value: Any, wanted: Any) -> str:
    kinds = [wanted] if isinstance(wanted, str) else list(wanted)
    if any(_is(value, k) for k in kinds):
        return ""
    return f"{value!r} is not of type {', '.join(map(repr, kinds))}"


def _scalar_rules(value: Any, schema: Schema) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} is not one of {list(schema['enum'])!r}"
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield f"{value!r} is too short"
        if len(value) > schema.get("maxLength", len(value)):
            yield f"{value!r} is too long"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{value!r} does not match {schema['pattern']!r}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            yield f"{value!r} is less than the minimum of {schema['minimum']}"
        if value > schema.get("maximum", value):
            yield f"{value!r} is greater than the maximum of {schema['maximum']}"


def complaints(value: Any, schema: Schema, field: str = "") -> Iterator[Complaint]:
    """Everything wrong with the value, outermost first."""
    if "type" in schema and (wrong := _type_rule(value, schema["type"])):
        yield Complaint(field, value, wrong)
        return
    for message in _scalar_rules(value, schema):
        yield Complaint(field, value, message)
    if isinstance(value, dict):
        yield from _object_rules(value, schema, field)
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            yield Complaint(field, value, f"{value!r} is too long")
        for index, item in enumerate(value):
            yield from complaints(item, schema.get("items", {}), str(index))


def _object_rules(value: dict[str, Any], schema: Schema, field: str) -> Iterator[Complaint]:
    known: Mapping[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield Complaint(field, value, f"{name!r} is a required property")
    others = schema.get("additionalProperties", True)
    extra = [name for name in value if name not in known]
    if extra and others is False:
        were = "was" if len(extra) == 1 else "were"
        names = ", ".join(map(repr, extra))
        yield Complaint(field, value, f"Additional properties are not allowed ({names} {were} unexpected)")
    for name, item in value.items():
        if name in known:
            yield from complaints(item, known[name], name)
        elif isinstance(others, Mapping):
            yield from complaints(item, others, name)


def field_message(found: Complaint) -> str:
    """Keystone's and Nova's sentence."""
    if not found.field:
        return found.message
    return f"Invalid input for field/attribute {found.field}. Value: {found.value}. {found.message}"


def check(value: Any, schema: Schema, say: Callable[[Complaint], str] = field_message) -> None:
    """Raise ApiError 400 with the first complaint, if there is one."""
    for found in complaints(value, schema):
        raise ApiError(400, say(found))
