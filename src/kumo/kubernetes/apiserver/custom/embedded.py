"""Objects inside of custom objects (`x-kubernetes-embedded-resource`): type and metadata are checked there too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.metadata import validate_metadata

Schema = Mapping[str, Any]


@dataclass(slots=True)
class Embedded:
    """The places of a schema at or below which objects are embedded."""

    here: bool = False
    properties: dict[str, Embedded] = field(default_factory=dict)
    values: Embedded | None = None
    items: Embedded | None = None

    def validate(self, value: Any, path: str = "") -> Iterator[Cause]:
        """What is wrong with type and metadata of the objects in the value."""
        if isinstance(value, dict):
            if self.here:
                yield from _object(value, path)
            for name, below in self.properties.items():
                if name in value:
                    yield from below.validate(value[name], f"{path}.{name}" if path else name)
            if self.values is not None:
                for name, item in value.items():
                    yield from self.values.validate(item, f"{path}[{name}]")
        elif isinstance(value, list) and self.items is not None:
            for index, item in enumerate(value):
                yield from self.items.validate(item, f"{path}[{index}]")


def embedded_of(schema: Schema) -> Embedded | None:
    """The places of embedded objects in a schema; None if there is none."""
    found = Embedded(bool(schema.get("x-kubernetes-embedded-resource")))
    for name, child in (schema.get("properties") or {}).items():
        below = embedded_of(child)
        if below is not None:
            found.properties[name] = below
    more, items = schema.get("additionalProperties"), schema.get("items")
    if isinstance(more, Mapping):
        found.values = embedded_of(more)
    if isinstance(items, Mapping):
        found.items = embedded_of(items)
    return found if found.here or found.properties or found.values or found.items else None


def _object(value: dict[str, Any], path: str) -> Iterator[Cause]:
    for key in ("apiVersion", "kind"):
        if key not in value:
            yield fields.required(f"{path}.{key}")
    version, kind = value.get("apiVersion"), value.get("kind")
    if "apiVersion" in value:
        at = f"{path}.apiVersion"
        if not isinstance(version, str):
            yield fields.invalid(at, version, "must be a string")
        elif not version:
            yield fields.invalid(at, version, "must not be empty")
        elif version.count("/") > 1:
            yield fields.invalid(at, version, f"unexpected GroupVersion string: {version}")
    if "kind" in value:
        at = f"{path}.kind"
        if not isinstance(kind, str):
            yield fields.invalid(at, kind, "must be a string")
        elif not kind:
            yield fields.invalid(at, kind, "must not be empty")
        elif wrong := names.check_label_1035(kind.lower()):
            yield fields.invalid(at, kind, "may have mixed case, but should otherwise match: " + ",".join(wrong))
    meta = value.get("metadata")
    if isinstance(meta, dict):
        named = {**meta, "name": meta.get("name") or "fakename"}
        for cause in validate_metadata({"metadata": named}, bool(meta.get("namespace")), names.check_path_segment):
            yield Cause(f"{path}.{cause.field}", cause.message, cause.reason)
