"""The schema of a custom kind, out of its CustomResourceDefinition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.schema.builtin import object_meta
from kumo.api.schema.correlation import Correlated
from kumo.api.schema.decoding import DecodeError, decode
from kumo.api.schema.kind import Decoded, cannot_handle
from kumo.api.schema.nodes import Node
from kumo.api.schema.pruning import apply_defaults, prune
from kumo.api.schema.structural import root_node
from kumo.api.schema.validation import causes, complaints

_CONTAINERS = (dict, list)


class CustomKindSchema:
    """The schema of one version of a custom kind; see `KindSchema`."""

    def __init__(self, gvk: GVK, schema: Mapping[str, Any], *, preserve: bool = False) -> None:
        self.gvk = gvk
        self.root: Node = root_node(schema, preserve=preserve)
        self._schema = schema
        self._meta = object_meta()
        self._typed_lists: bool | None = None

    def decode(self, obj: Object, *, sparse: bool = False) -> Decoded:
        """A pruned copy; only apiVersion, kind and metadata are checked here. Raises DecodeError for those."""
        unknown: list[str] = []
        for key in ("apiVersion", "kind"):
            if not isinstance(obj.get(key, ""), str):
                raise cannot_handle(self.gvk, f"json: cannot unmarshal into Go struct field .{key} of type string")
        body = {k: v for k, v in obj.items() if k != "metadata"}
        embedded: list[str] = []
        try:
            pruned: Object = prune(self.root, body, "", unknown, embedded)
            unknown.sort()
            unknown += embedded
            below: list[str] = []
            meta = decode(self._meta, obj.get("metadata"), below)
        except DecodeError as error:
            raise cannot_handle(self.gvk, str(error)) from None
        unknown += [f"metadata.{path}" for path in below]
        head: Object = {k: pruned.pop(k) for k in ("apiVersion", "kind") if k in pruned}
        return Decoded({**head, "metadata": meta, **pruned}, tuple(unknown))

    def pruned(self, obj: Object) -> Object:
        """A copy of an object that was read before, without what this schema does not know."""
        body = {k: v for k, v in obj.items() if k != "metadata"}
        found: Object = prune(self.root, body, "", [])
        head: Object = {k: found.pop(k) for k in ("apiVersion", "kind") if k in found}
        return {**head, "metadata": obj["metadata"], **found}

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
        """What breaks the schema; of what is as it was in `old`, nothing."""
        return self._causes(self._schema, obj, old, "")

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        """The same for a status write, which only the status counts in."""
        schema = (self._schema.get("properties") or {}).get("status")
        if schema is None or "status" not in new:
            return []
        found = self._causes(schema, new["status"], old.get("status"), "status")
        return [cause if cause.field == "<nil>" else _below_status(cause) for cause in found]

    def _causes(self, schema: Mapping[str, Any], value: Any, old: Any, path: str) -> list[Cause]:
        found = list(complaints(schema, value))
        if found and old is not None:
            found = list(complaints(schema, value, "", Correlated(value, old, schema, root=not path)))
        return causes(iter(found))

    def duplicates(self, obj: Object) -> list[Cause]:
        """Items of set and map lists that are there twice."""
        if self._typed_lists is None:
            self._typed_lists = _has_typed_lists(self._schema)
        if not self._typed_lists:
            return []
        return _duplicates(self.root, {k: v for k, v in obj.items() if k != "metadata"}, "")


def _below_status(cause: Cause) -> Cause:
    return Cause(f"status.{cause.field}", cause.message, cause.reason)


def _has_typed_lists(schema: Mapping[str, Any]) -> bool:
    below = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return schema.get("x-kubernetes-list-type") in ("set", "map") or any(
        _has_typed_lists(child) for child in below if isinstance(child, Mapping)
    )


def _duplicates(node: Node, value: Any, path: str) -> list[Cause]:
    found: list[Cause] = []
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, _CONTAINERS) and (below := node.field(name)) is not None:
                inner = f"{path}[{name}]" if name not in node.fields else f"{path}.{name}" if path else name
                found += _duplicates(below, item, inner)
    elif isinstance(value, list) and node.items is not None:
        if node.list_type in ("map", "set"):
            found += _twice(node, value, path)
        for index, item in enumerate(value):
            if isinstance(item, _CONTAINERS):
                found += _duplicates(node.items, item, f"{path}[{index}]")
    return found


def _twice(node: Node, value: list[Any], path: str) -> list[Cause]:
    """Each item that is there again, once."""
    found: list[Cause] = []
    seen: dict[bytes, int] = {}
    for index, item in enumerate(value):
        key: Any = item
        if node.list_type == "map":
            if item is not None and not isinstance(item, dict):
                return [fields.invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")]
            key = {k: item[k] for k in node.list_keys if k in item} if item else {}
        text = msgspec.json.encode(key, order="sorted")
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            found.append(fields.duplicate(f"{path}[{index}]", key))
    return found


def crd_schema(
    schema: Mapping[str, Any] | None, gvk: GVK, *, preserve_unknown_fields: bool = False
) -> CustomKindSchema:
    """The schema of a custom kind from its version's `openAPIV3Schema`; without one, everything is kept."""
    return CustomKindSchema(gvk, schema or {}, preserve=preserve_unknown_fields or not schema)
