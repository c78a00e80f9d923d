"""The schema of a custom kind, out of its CustomResourceDefinition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.schema.builtin import object_meta
from kumo.api.schema.decoding import DecodeError, decode
from kumo.api.schema.kind import Decoded, cannot_handle
from kumo.api.schema.nodes import Node
from kumo.api.schema.pruning import apply_defaults, prune
from kumo.api.schema.structural import root_node
from kumo.api.schema.validation import causes, complaints


class CustomKindSchema:
    """The schema of one version of a custom kind; see `KindSchema`."""

    def __init__(self, gvk: GVK, schema: Mapping[str, Any], *, preserve: bool = False) -> None:
        self.gvk = gvk
        self.root: Node = root_node(schema, preserve=preserve)
        self._schema = schema
        self._meta = object_meta()

    def decode(self, obj: Object, *, sparse: bool = False) -> Decoded:
        """A pruned copy; only apiVersion, kind and metadata are checked here. Raises DecodeError for those."""
        unknown: list[str] = []
        for key in ("apiVersion", "kind"):
            if not isinstance(obj.get(key, ""), str):
                raise cannot_handle(self.gvk, f"json: cannot unmarshal into Go struct field .{key} of type string")
        body = {k: v for k, v in obj.items() if k != "metadata"}
        pruned: Object = prune(self.root, body, "", unknown)
        try:
            below: list[str] = []
            meta = decode(self._meta, obj.get("metadata"), below)
        except DecodeError as error:
            raise cannot_handle(self.gvk, str(error)) from None
        unknown += [f"metadata.{path}" for path in below]
        head: Object = {k: pruned.pop(k) for k in ("apiVersion", "kind") if k in pruned}
        return Decoded({**head, "metadata": meta, **pruned}, tuple(unknown))

    def field(self, *path: str) -> Node | None:
        """See `KindSchema`."""
        return self.root.find(*path)

    def apply_defaults(self, obj: Object) -> None:
        """Set the schema's defaults, in place."""
        meta = obj.pop("metadata", None)
        apply_defaults(self.root, obj)
        if meta is not None:
            rest = {k: obj.pop(k) for k in list(obj) if k not in ("apiVersion", "kind")}
            obj["metadata"] = meta
            obj.update(rest)

    def validate(self, obj: Object, old: Object | None = None) -> list[Cause]:
        """What breaks the schema, and items of set and map lists that are there twice."""
        found = causes(complaints(self._schema, obj))
        return found + list(_duplicates(self.root, {k: v for k, v in obj.items() if k != "metadata"}, ""))


def _duplicates(node: Node, value: Any, path: str) -> list[Cause]:
    found: list[Cause] = []
    if isinstance(value, dict):
        for name, item in value.items():
            below = node.field(name)
            if below is not None and isinstance(item, dict | list):
                found += _duplicates(below, item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and node.items is not None:
        seen: set[str] = set()
        for index, item in enumerate(value):
            key: Any = item
            if node.list_type == "map" and isinstance(item, dict):
                key = {k: item[k] for k in node.list_keys if k in item}
            if node.list_type in ("map", "set"):
                text = json.dumps(key, sort_keys=True)
                if text in seen:
                    found.append(fields.duplicate(f"{path}[{index}]", key))
                seen.add(text)
            if isinstance(item, dict | list):
                found += _duplicates(node.items, item, f"{path}[{index}]")
    return found


def crd_schema(
    schema: Mapping[str, Any] | None, gvk: GVK, *, preserve_unknown_fields: bool = False
) -> CustomKindSchema:
    """The schema of a custom kind from its version's `openAPIV3Schema`; without one, everything is kept."""
    return CustomKindSchema(gvk, schema or {}, preserve=preserve_unknown_fields or not schema)
