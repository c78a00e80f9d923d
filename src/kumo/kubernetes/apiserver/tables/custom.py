"""Columns of custom kinds: `additionalPrinterColumns` of their CustomResourceDefinition."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kumo.api.json_path import JsonPath
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.tables.columns import Columns, column
from kumo.kubernetes.apiserver.tables.duration import since


def custom_columns(definitions: Sequence[Mapping[str, Any]]) -> Columns:
    """The name, then the columns that the definitions say; with none, the age."""
    wanted = definitions or [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]
    made: list[dict[str, Any]] = [column("Name")]
    paths: list[tuple[JsonPath, str]] = []
    for definition in wanted:
        kind = str(definition.get("type") or "string")
        made.append(
            {
                "name": definition.get("name") or "",
                "type": kind,
                "format": definition.get("format") or "",
                "description": definition.get("description") or _described(definition),
                "priority": definition.get("priority") or 0,
            }
        )
        paths.append((JsonPath(str(definition.get("jsonPath") or "")), kind))

    def cells(obj: Object, now: float) -> list[Any]:
        return [obj["metadata"].get("name") or "", *(_cell(path.find(obj), kind, now) for path, kind in paths)]

    return Columns(tuple(made), cells)


def _described(definition: Mapping[str, Any]) -> str:
    return f"Custom resource definition column (in JSONPath format): {definition.get('jsonPath') or ''}"


def _cell(found: list[Any], kind: str, now: float) -> Any:
    if not found:
        return "<unknown>" if kind == "date" else None
    if kind == "date":
        return since(found[0] if isinstance(found[0], str) else None, now)
    if kind in ("integer", "number", "boolean"):
        return found[0] if isinstance(found[0], bool | int | float) else None
    return " ".join(_text(value) for value in found)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))
