"""Whether a schema is structural, so that pruning and defaulting are well defined (apiserver/schema/validation)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.custom.causes import ordered
from kumo.machinery.cel.errors import CelError

Schema = Mapping[str, Any]
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_IOS = "x-kubernetes-int-or-string"
_EMPTY_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
_NESTED = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (_PRESERVE, "must be false to be structural"),
    (_EMBEDDED, "must be false to be structural"),
    (_IOS, "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)


def forbidden_construct(schema: Schema) -> str:
    """Why a schema can't be made structural at all; empty when it can."""
    for part in _all_parts(schema):
        if part.get("$schema"):
            return "OpenAPIV3Schema 'schema' is not supported"
        if isinstance(part.get("items"), list):
            return "OpenAPIV3Schema 'items' must be an object, but is an array"
    return ""


def _all_parts(schema: Schema) -> Iterator[Schema]:
    yield schema
    for key in ("properties", "definitions", "patternProperties"):
        for child in (schema.get(key) or {}).values():
            yield from _all_parts(child)
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), Mapping):
            yield from _all_parts(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        for child in schema.get(key) or ():
            yield from _all_parts(child)


def validate_structural(path: str, schema: Schema) -> list[Cause]:
    """What keeps the schema of a version from being structural, in the order of the texts."""
    return ordered([*_invariants(schema, "root", path), *_completeness(schema, path)])


def _invariants(schema: Schema, level: str, path: str) -> Iterator[Cause]:
    kind = schema.get("type") or ""
    items, properties = schema.get("items"), schema.get("properties") or {}
    more = schema.get("additionalProperties")
    if kind == "array" and items is None:
        yield fields.required(f"{path}.items", "must be specified")
    if isinstance(items, Mapping):
        yield from _invariants(items, "item", f"{path}.items")
    for name, child in properties.items():
        yield from _invariants(child, "field", f"{path}.properties[{name}]")
    if more is not None:
        if level == "root":
            yield fields.forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if isinstance(more, Mapping):
            yield from _invariants(more, "field", f"{path}.additionalProperties")
    if schema.get(_IOS):
        detail = f"must be false if {_IOS} is true"
        yield from (fields.invalid(f"{path}.{key}", True, detail) for key in (_PRESERVE, _EMBEDDED) if schema.get(key))
    skip = schema.get("anyOf") == INT_OR_STRING
    first = (schema.get("allOf") or [{}])[0]
    yield from _values(schema, path, skip, first.get("anyOf") == INT_OR_STRING)
    embedded = bool(schema.get(_EMBEDDED))
    if embedded and kind != "object":
        detail = f"must be object if {_EMBEDDED} is true"
        yield fields.invalid(f"{path}.type", kind, detail) if kind else fields.required(f"{path}.type", detail)
    elif not kind and not schema.get(_IOS) and not schema.get(_PRESERVE):
        yield fields.required(f"{path}.type", _EMPTY_TYPE[level])
    if embedded and more is not None:
        yield fields.forbidden(f"{path}.additionalProperties", f"must not be used if {_EMBEDDED} is set")
    if level == "root" and kind and kind != "object":
        yield fields.invalid(f"{path}.type", kind, "must be object at the root")
    yield from _metadata(schema, level, path, embedded)
    if embedded and not schema.get(_PRESERVE) and not properties:
        detail = f"must not be empty if {_EMBEDDED} is true without {_PRESERVE}"
        yield fields.required(f"{path}.properties", detail)


def _metadata(schema: Schema, level: str, path: str, embedded: bool) -> Iterator[Cause]:
    properties = schema.get("properties") or {}
    checked = level == "root" or embedded
    if checked:
        for name in ("kind", "apiVersion"):
            if name in properties and properties[name].get("type") != "string":
                at = f"{path}.properties[{name}].type"
                yield fields.invalid(at, properties[name].get("type") or "", "must be string")
    meta = properties.get("metadata")
    if meta is None:
        return
    at = f"{path}.properties[metadata]"
    if checked and meta.get("type") != "object":
        yield fields.invalid(f"{at}.type", meta.get("type") or "", "must be object")
    if level == "root":
        rest = {k: v for k, v in meta.items() if k not in ("type", "default") and v not in (None, False, "", [], {})}
        if set(rest.get("properties") or ()) <= {"name", "generateName"}:
            rest.pop("properties", None)
        if rest:
            detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield fields.forbidden(at, detail)


def _values(schema: Schema, path: str, skip_any: bool, skip_first: bool) -> Iterator[Cause]:
    if not skip_any:
        for index, part in enumerate(schema.get("anyOf") or ()):
            yield from _nested(part, f"{path}.anyOf[{index}]")
    for index, part in enumerate(schema.get("allOf") or ()):
        yield from _nested(part, f"{path}.allOf[{index}]", skip_any=skip_first and not index)
    for index, part in enumerate(schema.get("oneOf") or ()):
        yield from _nested(part, f"{path}.oneOf[{index}]")
    if isinstance(schema.get("not"), Mapping):
        yield from _nested(schema["not"], f"{path}.not")
    pattern = schema.get("pattern")
    if pattern:
        from kumo.machinery.cel.libraries.strings import regex

        try:
            regex(pattern)
        except CelError as error:
            detail = f"must be a valid regular expression, but isn't: {error.message}"
            yield fields.invalid(f"{path}.pattern", pattern, detail)


def _nested(schema: Schema, path: str, skip_any: bool = False) -> Iterator[Cause]:
    yield from _values(schema, path, skip_any, False)
    if isinstance(schema.get("items"), Mapping):
        yield from _nested(schema["items"], f"{path}.items")
    for name, child in (schema.get("properties") or {}).items():
        yield from _nested(child, f"{path}.properties[{name}]")
    for key, detail in _NESTED:
        if schema.get(key) not in (None, False, "", [], {}) or (
            key in ("default", "additionalProperties") and schema.get(key) is not None
        ):
            yield fields.forbidden(f"{path}.{key}", detail)
    if "metadata" in (schema.get("properties") or {}):
        yield fields.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _completeness(schema: Schema, path: str) -> Iterator[Cause]:
    """What stands in allOf, anyOf, oneOf or not of the root must stand outside too."""
    for key in ("allOf", "anyOf", "oneOf"):
        for index, part in enumerate(schema.get(key) or ()):
            yield from _complete(part, schema, f"{path}.{key}[{index}]", path)
    if isinstance(schema.get("not"), Mapping):
        yield from _complete(schema["not"], schema, f"{path}.not", path)


def _complete(nested: Schema, outer: Schema | None, path: str, outer_path: str) -> Iterator[Cause]:
    if outer is None:
        yield fields.required(outer_path, f"because it is defined in {path}")
        return
    for key in ("allOf", "anyOf", "oneOf"):
        for index, part in enumerate(nested.get(key) or ()):
            yield from _complete(part, outer, f"{path}.{key}[{index}]", outer_path)
    if isinstance(nested.get("not"), Mapping):
        yield from _complete(nested["not"], outer, f"{path}.not", outer_path)
    if isinstance(nested.get("items"), Mapping):
        yield from _complete(nested["items"], outer.get("items"), f"{path}.items", f"{outer_path}.items")
    for name, child in (nested.get("properties") or {}).items():
        below = (outer.get("properties") or {}).get(name)
        at = f"properties[{name}]"
        yield from _complete(child, below, f"{path}.{at}", f"{outer_path}.{at}")
