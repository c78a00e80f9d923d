"""Schemas of custom kinds as OpenAPI publishes them: what v2 can't say is left out (apiextensions' OpenAPI builder)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

Schema = Mapping[str, Any]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_UNKNOWN_TO_V2 = ("anyOf", "oneOf", "not", "allOf", "default")


def published(
    schema: Schema | None, dialect: Literal["v2", "v3"], head: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The schema of a custom kind. `head` makes the properties apiVersion, kind and metadata.

    v2 says nothing but `type: object` of a kind that keeps unknown fields at its root: clients would refuse them.
    """
    if schema is None or (dialect == "v2" and schema.get(_PRESERVE)):
        return {"type": "object"}
    body = _v2(schema) if dialect == "v2" else _v3(schema)
    body = _with_embedded(body, dialect, head)
    top = head()
    body["properties"] = {**top, **{k: v for k, v in (body.get("properties") or {}).items() if k not in top}}
    return body


def _v2(schema: Schema) -> dict[str, Any]:
    out = {k: v for k, v in schema.items() if k not in _UNKNOWN_TO_V2}
    if out.pop("nullable", False):
        for key in ("type", "items", "properties"):
            out.pop(key, None)
    if schema.get(_PRESERVE):
        out.pop("items", None)
        out.pop("properties", None)
        if out.get("type") == "object":
            del out["type"]
    if out.get("type") == "array" and "items" not in out:
        del out["type"]
    properties = out.get("properties")
    more = out.get("additionalProperties")
    if out.get("required"):
        nullable = {name for name, child in (properties or {}).items() if child.get("nullable")}
        needed = [name for name in out["required"] if name not in nullable]
        if not needed or (isinstance(more, Mapping) and more.get("nullable")):
            del out["required"]
        else:
            out["required"] = needed
    if properties is not None:
        out["properties"] = {name: _v2(child) for name, child in properties.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = _v2(out[key])
    return out


def _v3(schema: Schema) -> dict[str, Any]:
    """The schema; what is a number or a text says so in words that everybody knows."""
    out = dict(schema)
    if schema.get("x-kubernetes-int-or-string") and "anyOf" not in schema:
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(schema.get("properties"), Mapping):
        out["properties"] = {name: _v3(child) for name, child in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            out[key] = _v3(schema[key])
    return out


def _with_embedded(
    schema: dict[str, Any], dialect: Literal["v2", "v3"], head: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Embedded objects have type and metadata, and must have the former."""
    out = dict(schema)
    if isinstance(out.get("properties"), Mapping):
        out["properties"] = {k: _with_embedded(dict(v), dialect, head) for k, v in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = _with_embedded(dict(out[key]), dialect, head)
    if not out.get(_EMBEDDED) or (dialect == "v2" and out.get(_PRESERVE)):
        return out
    out["properties"] = {**(out.get("properties") or {}), **head()}
    needed = list(out.get("required") or ())
    out["required"] = needed + [key for key in ("kind", "apiVersion") if key not in needed]
    return out
