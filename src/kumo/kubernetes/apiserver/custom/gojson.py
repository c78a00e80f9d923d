"""Definitions as upstream's messages show them: the JSON of its internal types, with Go's names and escapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TEXT, _OFF, _NONE = "", False, None
_SCHEMA: tuple[tuple[str, str, Any], ...] = (
    ("ID", "id", _TEXT), ("Schema", "$schema", _TEXT), ("Ref", "$ref", _NONE), ("Description", "description", _TEXT),
    ("Type", "type", _TEXT), ("Nullable", "nullable", _OFF), ("Format", "format", _TEXT), ("Title", "title", _TEXT),
    ("Default", "default", _NONE), ("Maximum", "maximum", _NONE), ("ExclusiveMaximum", "exclusiveMaximum", _OFF),
    ("Minimum", "minimum", _NONE), ("ExclusiveMinimum", "exclusiveMinimum", _OFF), ("MaxLength", "maxLength", _NONE),
    ("MinLength", "minLength", _NONE), ("Pattern", "pattern", _TEXT), ("MaxItems", "maxItems", _NONE),
    ("MinItems", "minItems", _NONE), ("UniqueItems", "uniqueItems", _OFF), ("MultipleOf", "multipleOf", _NONE),
    ("Enum", "enum", _NONE), ("MaxProperties", "maxProperties", _NONE), ("MinProperties", "minProperties", _NONE),
    ("Required", "required", _NONE), ("Items", "items", _NONE), ("AllOf", "allOf", _NONE), ("OneOf", "oneOf", _NONE),
    ("AnyOf", "anyOf", _NONE), ("Not", "not", _NONE), ("Properties", "properties", _NONE),
    ("AdditionalProperties", "additionalProperties", _NONE), ("PatternProperties", "patternProperties", _NONE),
    ("Dependencies", "dependencies", _NONE), ("AdditionalItems", "additionalItems", _NONE),
    ("Definitions", "definitions", _NONE), ("ExternalDocs", "externalDocs", _NONE), ("Example", "example", _NONE),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", _NONE),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", _OFF), ("XIntOrString", "x-kubernetes-int-or-string", _OFF),
    ("XListMapKeys", "x-kubernetes-list-map-keys", _NONE), ("XListType", "x-kubernetes-list-type", _NONE),
    ("XMapType", "x-kubernetes-map-type", _NONE), ("XValidations", "x-kubernetes-validations", _NONE),
)  # fmt: skip
SCHEMA_FIELDS: Mapping[str, str] = {key: name for name, key, _ in _SCHEMA}
"""Go's names of a schema's fields."""
_RULE = (
    ("Rule", "rule", _TEXT), ("Message", "message", _TEXT), ("MessageExpression", "messageExpression", _TEXT),
    ("Reason", "reason", _NONE), ("FieldPath", "fieldPath", _TEXT), ("OptionalOldSelf", "optionalOldSelf", _NONE),
)  # fmt: skip


class Shown:
    """A value with the text that messages show for it."""

    def __init__(self, text: str) -> None:
        self.text = text


def go_json(value: Any) -> str:
    """The value as Go's encoder writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def rule_text(rule: Mapping[str, Any]) -> str:
    """A validation rule."""
    return go_json({name: rule.get(key, missing) for name, key, missing in _RULE})


def schema_value(schema: Mapping[str, Any] | None) -> Any:
    """A schema as the internal type."""
    if schema is None:
        return None
    found: dict[str, Any] = {}
    for name, key, missing in _SCHEMA:
        found[name] = _part(key, schema[key]) if schema.get(key) is not None else missing
    return found


def _part(key: str, value: Any) -> Any:
    if key in ("properties", "patternProperties", "definitions"):
        return {name: schema_value(child) for name, child in sorted(value.items())}
    if key in ("allOf", "anyOf", "oneOf"):
        return [schema_value(child) for child in value]
    if key == "not":
        return schema_value(value)
    if key == "items":
        many = isinstance(value, list)
        one = None if many else schema_value(value)
        return {"Schema": one, "JSONSchemas": [schema_value(v) for v in value] if many else None}
    if key in ("additionalProperties", "additionalItems"):
        plain = isinstance(value, bool)
        return {"Allows": value if plain else True, "Schema": None if plain else schema_value(value)}
    if key == "x-kubernetes-validations":
        return [{name: rule.get(field, missing) for name, field, missing in _RULE} for rule in value]
    return value


def version_value(version: Mapping[str, Any], shared: set[str]) -> Any:
    """A version of a definition as the internal type; what all versions share is not in it."""

    def own(key: str) -> Any:
        return None if key in shared else version.get(key)

    schema = own("schema")
    subresources = own("subresources")
    return {
        "Name": version.get("name") or "",
        "Served": bool(version.get("served")),
        "Storage": bool(version.get("storage")),
        "Deprecated": bool(version.get("deprecated")),
        "DeprecationWarning": version.get("deprecationWarning"),
        "Schema": {"OpenAPIV3Schema": schema_value(schema.get("openAPIV3Schema"))} if schema else None,
        "Subresources": _subresources(subresources),
        "AdditionalPrinterColumns": [_column(c) for c in own("additionalPrinterColumns") or ()] or None,
        "SelectableFields": [{"JSONPath": f.get("jsonPath") or ""} for f in own("selectableFields") or ()] or None,
    }


def _subresources(found: Mapping[str, Any] | None) -> Any:
    if not found:
        return None
    scale = found.get("scale")
    return {
        "Status": {} if found.get("status") is not None else None,
        "Scale": {
            "SpecReplicasPath": scale.get("specReplicasPath") or "",
            "StatusReplicasPath": scale.get("statusReplicasPath") or "",
            "LabelSelectorPath": scale.get("labelSelectorPath"),
        }
        if scale
        else None,
    }


def _column(column: Mapping[str, Any]) -> Any:
    names = (("Name", "name"), ("Type", "type"), ("Format", "format"), ("Description", "description"))
    found: dict[str, Any] = {name: column.get(key) or "" for name, key in names}
    return {**found, "Priority": column.get("priority") or 0, "JSONPath": column.get("jsonPath") or ""}
