"""Validation of custom objects against their OpenAPI v3 schema, with the complaints of upstream's validator.

`complaints` gives them raw (`spec.template in body is required`), `causes` as the API server sends them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.schema.correlation import Correlated
from kumo.api.schema.formats import check_format

_TYPES = {str: "string", dict: "object", list: "array", bool: "boolean", int: "integer", type(None): "null"}
_PLAIN = frozenset(("string", "boolean", "integer"))
_SIMPLE = frozenset(("type", "description", "title", "default", "nullable", "example"))
"""What a schema may say without a value of its type having to be looked at."""
_COMBINING = frozenset(("allOf", "anyOf", "oneOf", "not"))


class Complaint(NamedTuple):
    """One broken rule: `code` names the rule (`required`, `type`, `enum`, ...), `text` says it in full."""

    path: str
    code: str
    value: Any
    text: str
    limit: Any = None


def complaints(
    schema: Mapping[str, Any], value: Any, path: str = "", before: Correlated | None = None
) -> Iterator[Complaint]:
    """What of the value breaks the schema, in the order of a walk through the schema.

    With its older state (`before`), what has not changed may stay wrong (upstream's ratcheting).
    """
    if before is not None and before.direct and before.unchanged():
        return
    if value is None and schema.get("nullable"):
        return
    kind = schema.get("type")
    if kind in _PLAIN and _TYPES.get(type(value)) == kind and _SIMPLE.issuperset(schema):
        return  # Of the right type, and that is all that is asked.
    wrong = _wrong_type(schema, value, path)
    if wrong is not None:
        yield wrong
        if isinstance(value, float) and schema.get("type") == "integer":
            yield Complaint("", "format", "", f"Checked value must be of type integer (default format) in {path}")
        yield from _choice(schema, value, path)
        return
    yield from _choice(schema, value, path)
    if isinstance(value, str):
        yield from _string(schema, value, path)
    elif isinstance(value, dict):
        yield from _object(schema, value, path, before)
    elif isinstance(value, list):
        yield from _array(schema, value, path, before)
    elif not isinstance(value, bool) and isinstance(value, int | float):
        yield from _number(schema, value, path)
    if not _COMBINING.isdisjoint(schema):
        yield from _combined(schema, value, path, before)


def _choice(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[Complaint]:
    if "enum" in schema and value not in schema["enum"]:
        yield Complaint(path, "enum", value, f"{_in(path)} should be one of {_go_list(schema['enum'])}", schema["enum"])


def causes(found: Iterator[Complaint]) -> list[Cause]:
    """The complaints as the causes of a 422 Invalid."""
    return [_cause(c) for c in found]


def _cause(c: Complaint) -> Cause:
    path = c.path or "<nil>"
    if c.code == "required":
        return fields.required(path)
    if c.code == "enum":
        return fields.unsupported(path, c.value, [e if isinstance(e, str) else json.dumps(e) for e in c.limit])
    if c.code == "maxLength":
        return fields.too_long(path, c.limit)
    if c.code in ("maxItems", "maxProperties"):
        return fields.too_many(path, len(c.value), c.limit)
    if c.code in ("type", "form"):
        return fields.type_invalid(path, c.value, c.text)
    return fields.invalid(path, c.value, c.text)


def _in(path: str) -> str:
    return f"{path} in body" if path else "in body"


def json_type(value: Any) -> str:
    """The JSON Schema type of a value."""
    if type(value) is float:
        return "integer" if value.is_integer() else "number"
    return _TYPES.get(type(value), "object")


def _wrong_type(schema: Mapping[str, Any], value: Any, path: str) -> Complaint | None:
    wanted = schema.get("type")
    found = json_type(value)
    if schema.get("x-kubernetes-int-or-string"):
        good, wanted = found in ("integer", "string"), "integer,string"
    elif not wanted:
        return None
    else:
        good = found == wanted or (wanted == "number" and found == "integer")
    if good:
        return None
    return Complaint(path, "type", found, f'{_in(path)} must be of type {wanted}: "{found}"')


def _string(schema: Mapping[str, Any], value: str, path: str) -> Iterator[Complaint]:
    longest, shortest = schema.get("maxLength"), schema.get("minLength")
    pattern = schema.get("pattern")
    if longest is not None and len(value) > longest:
        yield Complaint(path, "maxLength", value, f"{_in(path)} should be at most {longest} chars long", longest)
    elif shortest is not None and len(value) < shortest:
        yield Complaint(path, "minLength", value, f"{_in(path)} should be at least {shortest} chars long", shortest)
    elif pattern and not _regex(pattern).search(value):
        yield Complaint(path, "pattern", value, f"{_in(path)} should match '{pattern}'")
    form = schema.get("format")
    if form and not check_format(form, value):
        yield Complaint(path, "form", value, f'{_in(path)} must be of type {form}: "{value}"')


@lru_cache(maxsize=2048)
def _regex(pattern: str) -> Any:
    """The pattern, by RE2: Go's syntax and meaning, and linear in time. A bad one (of old definitions) fits all."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return re2.compile("", options)


def _number(schema: Mapping[str, Any], value: float, path: str) -> Iterator[Complaint]:
    most, least, step = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    if most is not None:
        strict = bool(schema.get("exclusiveMaximum"))
        if value > most or (strict and value == most):
            rule = "less than" if strict else "less than or equal to"
            yield Complaint(path, "maximum", value, f"{_in(path)} should be {rule} {_plain(most)}", most)
    if least is not None:
        strict = bool(schema.get("exclusiveMinimum"))
        if value < least or (strict and value == least):
            rule = "greater than" if strict else "greater than or equal to"
            yield Complaint(path, "minimum", value, f"{_in(path)} should be {rule} {_plain(least)}", least)
    if step and not math.isclose(value / step, round(value / step), abs_tol=1e-9):
        yield Complaint(path, "multipleOf", value, f"{_in(path)} should be a multiple of {_plain(step)}", step)
    bits = {"int32": 31, "int64": 63}.get(schema.get("format") or "")
    if bits and not -(1 << bits) <= value < 1 << bits:
        text = f"Checked value must be of type integer with format {schema['format']} in {path}"
        yield Complaint("", "format", "", text)


def _object(
    schema: Mapping[str, Any], value: dict[str, Any], path: str, before: Correlated | None
) -> Iterator[Complaint]:
    for name in schema.get("required") or ():
        if name not in value:
            below = _below(path, name)
            yield Complaint(below, "required", "", f"{below} in body is required")
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        yield Complaint(path, "maxProperties", value, f"{_in(path)} should have at most {most} properties", most)
    if least is not None and len(value) < least:
        yield Complaint(
            path, "minProperties", len(value), f"{_in(path)} should have at least {least} properties", least
        )
    properties = schema.get("properties") or {}
    more = schema.get("additionalProperties")
    for name, item in value.items():
        if name in properties:
            yield from complaints(properties[name], item, _below(path, name), before and before.key(name))
        elif isinstance(more, dict):
            yield from complaints(more, item, _below(path, name), before and before.key(name))


def _array(schema: Mapping[str, Any], value: list[Any], path: str, before: Correlated | None) -> Iterator[Complaint]:
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        yield Complaint(path, "maxItems", value, f"{_in(path)} should have at most {most} items", most)
    if least is not None and len(value) < least:
        yield Complaint(path, "minItems", len(value), f"{_in(path)} should have at least {least} items", least)
    if schema.get("uniqueItems") and len({json.dumps(v, sort_keys=True) for v in value}) < len(value):
        yield Complaint(path, "uniqueItems", value, f"{_in(path)} shouldn't contain duplicates")
    items = schema.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            yield from complaints(items, item, f"{path}[{index}]", before and before.index(index))


def _combined(schema: Mapping[str, Any], value: Any, path: str, before: Correlated | None) -> Iterator[Complaint]:
    def good(part: Mapping[str, Any]) -> bool:
        return next(complaints(part, value, path, before), None) is None

    several = [] if schema.get("x-kubernetes-int-or-string") else schema.get("anyOf") or []
    if several and not any(good(part) for part in several):
        yield Complaint("", "anyOf", "", f'"{path}" must validate at least one schema (anyOf)')
        yield from complaints(several[0], value, path, before)
    if schema.get("oneOf"):
        matching = sum(good(part) for part in schema["oneOf"])
        if matching != 1:
            found = "Found none valid" if not matching else f"Found {matching} valid alternatives"
            text = f'"{path}" must validate one and only one schema (oneOf). {found}'
            yield Complaint("", "oneOf", "", text)
            if not matching:
                yield from complaints(schema["oneOf"][0], value, path, before)
    broken = [c for part in schema.get("allOf") or () for c in complaints(part, value, path, before)]
    if broken:
        yield Complaint("", "allOf", "", f'"{path}" must validate all the schemas (allOf)')
        yield from broken
    if schema.get("not") and good(schema["not"]):
        yield Complaint("", "not", "", f'"{path}" must not validate the schema (not)')


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _plain(number: float) -> str:
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def _go_list(values: list[Any]) -> str:
    return "[" + " ".join(v if isinstance(v, str) else json.dumps(v) for v in values) + "]"
