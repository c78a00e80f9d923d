"""Defaults in a definition's schema: they must be valid and pruned themselves (schema/defaulting/validation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.schema.pruning import prune
from kumo.api.schema.structural import structural_node
from kumo.api.schema.validation import causes, complaints
from kumo.kubernetes.apiserver.custom.causes import invalid_json
from kumo.kubernetes.apiserver.custom.rules import Place, rules_of
from kumo.machinery.cel import Budget

Schema = Mapping[str, Any]


def validate_defaults(path: str, schema: Schema) -> list[Cause]:
    """What is wrong with the defaults anywhere in the schema, which is that of whole objects."""
    return _walk(path, {**schema, "x-kubernetes-embedded-resource": True}, False, Budget())


def _walk(path: str, schema: Schema, in_meta: bool, budget: Budget) -> list[Cause]:
    found: list[Cause] = []
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    in_meta = in_meta and not embedded
    default = schema.get("default")
    if default is not None:
        found += _default(f"{path}.default", schema, default, embedded, in_meta, budget)
    items = schema.get("items")
    if isinstance(items, Mapping):
        found += _walk(f"{path}.items", items, in_meta, budget)
    for name, child in (schema.get("properties") or {}).items():
        meta = in_meta or (embedded and name in ("metadata", "apiVersion", "kind"))
        found += _walk(f"{path}.properties[{name}]", child, meta, budget)
    return found


def _default(path: str, schema: Schema, default: Any, embedded: bool, in_meta: bool, budget: Budget) -> list[Cause]:
    found: list[Cause] = []
    if not in_meta:
        unknown: list[str] = []
        prune(structural_node(schema), default, "", unknown)
        if unknown:
            found.append(invalid_json(path, default, "must not have unknown fields"))
    if embedded and isinstance(default, dict):
        missing = [fields.required(f"{path}.{key}") for key in ("apiVersion", "kind") if not default.get(key)]
        if missing:
            return found + missing
    wrong = [_below(path, cause) for cause in causes(complaints(schema, default))]
    if wrong:
        return found + wrong
    rules = rules_of(schema, embedded)
    if rules is None:
        return found
    broken = rules.validate(default, default, Place(path), budget)
    return found + (broken or rules.validate(default, None, Place(path), budget))


def _below(path: str, cause: Cause) -> Cause:
    field = path if cause.field in ("", "<nil>") else f"{path}.{cause.field}"
    return Cause(field, cause.message.replace(": in body", ":  in body"), cause.reason)
