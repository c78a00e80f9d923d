"""Rules for the parts of a definition's schema (apiextensions' validation of JSONSchemaProps)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.custom.causes import invalid, invalid_json
from kumo.kubernetes.apiserver.custom.field_paths import find_field
from kumo.kubernetes.apiserver.custom.rule_checks import Scope, check_rules, type_name
from kumo.machinery.cel.escaping import escaped
from kumo.machinery.cel.schemas import Declaration, declare

Schema = Mapping[str, Any]
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LIST, _MAP, _KEYS = "x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-list-map-keys"
_XV = "x-kubernetes-validations"
_SET_ITEM = "must be atomic as item of a list with x-kubernetes-list-type=set"


@dataclass(frozen=True)
class Context:
    """What holds where the walk is: whether defaults may be there (why not), and whether it is inside metadata."""

    no_defaults: str | None = None
    in_meta: bool = False


def validate_schema(
    schema: Schema, path: str, context: Context, scope: Scope | None, root: bool = True
) -> tuple[list[Cause], list[Cause]]:
    """What is wrong with a schema and all below it: its parts, and (given a scope) its rules."""
    parts = [*_unsupported(schema, path, context)]
    rules: list[Cause] = []
    for child, where, inner, inner_scope in _children(schema, path, context, scope, root):
        below, more = validate_schema(child, where, inner, inner_scope, False)
        parts += below
        rules += more
    parts += _typing(schema, path)
    parts += _list_map(schema, path)
    parts += _keys(schema, path)
    if schema.get(_XV):
        for index, rule in enumerate(schema[_XV]):
            parts += _rule(rule, f"{path}.{_XV}[{index}]", schema)
        if not parts and scope is not None:
            rules += check_rules(schema, path, scope)
    return parts, rules


Child = tuple[Schema, str, Context, Scope | None]


def _children(schema: Schema, path: str, context: Context, scope: Scope | None, root: bool) -> Iterator[Child]:
    properties = schema.get("properties") or {}
    more = schema.get("additionalProperties")
    declared = _declared(schema, scope)
    if isinstance(more, Mapping):
        inner = context
        if context.in_meta:
            inner = replace(context, no_defaults="inside additionalProperties applying to object metadata")
        below = scope.below(schema, declared.items if declared else None) if scope else None
        yield more, f"{path}.additionalProperties", inner, below
    for name, child in properties.items():
        inner = context
        if (root or schema.get("x-kubernetes-embedded-resource")) and name in ("metadata", "kind", "apiVersion"):
            inner = replace(inner, in_meta=True)
            if root:
                inner = replace(inner, no_defaults=f"in top-level {name}")
        free = "" if schema.get(_MAP) in (None, "granular", "atomic") else path
        known = declared.fields.get(escaped(name)) if declared else None
        below = scope.below(schema, known, free) if scope else None
        yield child, f"{path}.properties[{name}]", inner, below
    if isinstance(schema.get("not"), Mapping):
        yield schema["not"], f"{path}.not", context, None
    for key in ("allOf", "oneOf", "anyOf"):
        for index, child in enumerate(schema.get(key) or ()):
            yield child, f"{path}.{key}[{index}]", context, None
    for name, child in (schema.get("definitions") or {}).items():
        yield child, f"{path}.definitions[{name}]", context, None
    items = schema.get("items")
    free = "" if schema.get(_LIST) == "map" else path
    if isinstance(items, Mapping):
        below = scope.below(schema, declared.items if declared else None, free) if scope else None
        yield items, f"{path}.items", context, below
    elif isinstance(items, list):
        for index, child in enumerate(items):
            yield child, f"{path}.items[{index}]", context, None


def _declared(schema: Schema, scope: Scope | None) -> Declaration | None:
    """The types below, once a rule stands here or above (so that all of them are made once)."""
    if scope is None:
        return None
    if scope.declared is None and schema.get(_XV):
        return declare(schema, type_name(), scope.root or bool(schema.get("x-kubernetes-embedded-resource")))
    return scope.declared


def _unsupported(schema: Schema, path: str, context: Context) -> Iterator[Cause]:
    kind = schema.get("type")
    if kind and kind not in _TYPES:
        yield fields.unsupported(f"{path}.type", kind, _TYPES)
    if schema.get("default") is not None and context.no_defaults is not None:
        yield fields.forbidden(f"{path}.default", f"must not be set {context.no_defaults}".strip())
    for key in ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"):
        if schema.get(key) or (key in ("additionalItems", "dependencies", "$ref") and schema.get(key) is not None):
            yield fields.forbidden(f"{path}.{key}", f"{key} is not supported")
    if kind == "null":
        yield fields.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(schema.get("items"), list) and schema["items"]:
        yield fields.forbidden(f"{path}.items", "items must be a schema object and not an array")
    if context.in_meta and schema.get("x-kubernetes-embedded-resource"):
        yield fields.forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield fields.forbidden(f"{path}.uniqueItems", detail)
    more = schema.get("additionalProperties")
    if more is not None and schema.get("properties") and (more is False or isinstance(more, Mapping)):
        detail = "additionalProperties and properties are mutual exclusive"
        yield fields.forbidden(f"{path}.additionalProperties", detail)


def _typing(schema: Schema, path: str) -> Iterator[Cause]:
    kind = schema.get("type") or ""
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield fields.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    map_type, list_type = schema.get(_MAP), schema.get(_LIST)
    if map_type is not None and kind != "object":
        yield _wrong_type(path, kind, f"must be object if {_MAP} is specified")
    if map_type is not None and map_type not in ("atomic", "granular"):
        yield fields.unsupported(f"{path}.{_MAP}", map_type, ("atomic", "granular"))
    items = schema.get("items")
    if list_type is not None and kind != "array":
        yield _wrong_type(path, kind, f"must be array if {_LIST} is specified")
    elif list_type == "set" and isinstance(items, Mapping):
        inner = items.get("type")
        if inner == "array" and items.get(_LIST) not in (None, "atomic"):
            yield fields.invalid(f"{path}.items.{_LIST}", items[_LIST], _SET_ITEM)
        elif inner == "object" and items.get(_MAP) != "atomic":
            yield invalid_json(f"{path}.items.{_MAP}", items.get(_LIST), _SET_ITEM)
    if list_type is not None and list_type not in ("atomic", "set", "map"):
        yield fields.unsupported(f"{path}.{_LIST}", list_type, ("atomic", "set", "map"))
    if schema.get(_KEYS):
        detail = f"must be map if {_KEYS} is non-empty"
        if list_type is None:
            yield fields.required(f"{path}.{_LIST}", detail)
        elif list_type != "map":
            yield fields.invalid(f"{path}.{_LIST}", list_type, detail)


def _wrong_type(path: str, kind: str, detail: str) -> Cause:
    return fields.invalid(f"{path}.type", kind, detail) if kind else fields.required(f"{path}.type", detail)


def _list_map(schema: Schema, path: str) -> Iterator[Cause]:
    if schema.get(_LIST) != "map":
        return
    keys, items = schema.get(_KEYS) or [], schema.get("items")
    if not keys:
        yield fields.required(f"{path}.{_KEYS}", f"must not be empty if {_LIST} is map")
    if items is None:
        yield fields.required(f"{path}.items", f"must have a schema if {_LIST} is map")
    if not isinstance(items, Mapping):
        return
    if items.get("type") != "object":
        detail = f"must be object if parent array's {_LIST} is map"
        yield fields.invalid(f"{path}.items.type", items.get("type") or "", detail)
        return
    seen = set()
    for key in keys:
        below = (items.get("properties") or {}).get(key)
        if below is None:
            yield invalid_json(f"{path}.{_KEYS}", keys, "entries must all be names of item properties")
        elif below.get("type") in ("array", "object"):
            detail = f"must be a scalar type if parent array's {_LIST} is map"
            yield fields.invalid(f"{path}.items.properties[{key}].type", items["type"], detail)
        if key in seen:
            yield invalid_json(f"{path}.{_KEYS}", keys, "must not contain duplicate entries")
        seen.add(key)


def _keys(schema: Schema, path: str) -> Iterator[Cause]:
    items, kind = schema.get("items"), schema.get(_LIST)
    if not isinstance(items, Mapping) or kind not in ("set", "map"):
        return
    if items.get("nullable"):
        yield fields.forbidden(f"{path}.items.nullable", f"cannot be nullable when {_LIST} is {kind}")
    if kind == "set":
        return
    for key in schema.get(_KEYS) or ():
        below = (items.get("properties") or {}).get(key)
        if below is None:
            continue
        at = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and below.get("default") is None:
            detail = f"this property is in {_KEYS}, so it must have a default or be a required property"
            yield fields.required(f"{at}.default", detail)
        if below.get("nullable"):
            yield fields.forbidden(f"{at}.nullable", f"this property is in {_KEYS}, so it cannot be nullable")


def _rule(rule: Schema, path: str, schema: Schema) -> Iterator[Cause]:
    text, message = rule.get("rule") or "", rule.get("message") or ""
    if not text.strip():
        yield fields.required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        yield fields.invalid(f"{path}.message", message, "must be non-empty if specified")
    elif _broken(message.strip()):
        yield fields.invalid(f"{path}.message", message, "must not contain line breaks")
    elif _broken(text.strip()) and not message.strip():
        yield fields.required(f"{path}.message", "message must be specified if rule contains line breaks")
    expression = rule.get("messageExpression") or ""
    if expression and not expression.strip():
        yield fields.required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        yield fields.unsupported(f"{path}.reason", reason, _REASONS)
    where = rule.get("fieldPath") or ""
    if where and not where.strip():
        yield fields.invalid(f"{path}.fieldPath", where, "must be non-empty if specified")
    if _broken(where):
        yield fields.invalid(f"{path}.fieldPath", where, "must not contain line breaks")
    if where:
        try:
            find_field(where, schema)
        except ValueError:
            yield fields.invalid(f"{path}.fieldPath", where, "must be a valid path")


def _broken(text: str) -> bool:
    return re.search(r"[\n\r]", text) is not None


__all__ = ["Context", "invalid", "validate_schema"]
