"""One place in a schema, the same for built-in kinds and custom ones.

Decoding, patches, apply, validation and `kubectl explain` all walk these nodes. Lists and maps carry how they merge:
`list_type` and `list_keys` for server-side apply, `strategies` and `merge_key` for strategic merge patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

NodeType = Literal[
    "object",
    "map",
    "array",
    "string",
    "integer",
    "number",
    "boolean",
    "any",
    "int-or-string",
    "quantity",
    "time",
    "micro-time",
    "bytes",
]
Fields = Mapping[str, "Node"]


class Node:
    """What may stand at one place.

    - `type`: `object` has named `fields`, `map` has free keys with `values`, `array` has `items`; `any` is unchecked.
    - `name`: the Go type as error messages give it (`PodSpec`); `package` its package (`v1`); `definition` the whole
      name of a built-in kind's definition.
    - `list_type`: `atomic`, `set` or `map` (with `list_keys`); `map_type`: `granular` or `atomic`.
    - `strategies`: of `merge`, `replace`, `retainKeys`; `merge_key`: what tells the list's items apart.
    - `preserve`: unknown fields are kept; `schema`: the schema it was made from.
    - `shape`: what `kumo.api.patch.shapes` keeps here.
    """

    __slots__ = (
        "_fields",
        "definition",
        "embedded",
        "format",
        "items",
        "list_keys",
        "list_type",
        "map_type",
        "merge_key",
        "name",
        "nullable",
        "package",
        "preserve",
        "schema",
        "shape",
        "strategies",
        "type",
        "values",
    )

    def __init__(
        self,
        kind: NodeType,
        schema: Mapping[str, Any],
        *,
        fields: Callable[[], Fields] | None = None,
        values: Node | None = None,
        items: Node | None = None,
        name: str = "",
        package: str = "",
        definition: str = "",
    ) -> None:
        self.type: NodeType = kind
        self.schema = schema
        self.name = name
        self.definition = definition
        self.package = package
        self.values = values
        self.items = items
        self.format: str = schema.get("format") or ""
        self.nullable = bool(schema.get("nullable"))
        self.preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(schema.get("x-kubernetes-embedded-resource"))
        self._fields: Fields | Callable[[], Fields] = fields or {}
        self.shape: Any = None
        self._merging(schema)

    def _merging(self, schema: Mapping[str, Any]) -> None:
        self.list_type: str = schema.get("x-kubernetes-list-type") or "atomic"
        self.list_keys: tuple[str, ...] = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        self.map_type: str = schema.get("x-kubernetes-map-type") or "granular"
        strategy = schema.get("x-kubernetes-patch-strategy") or ""
        self.strategies: tuple[str, ...] = tuple(strategy.split(",")) if strategy else ()
        self.merge_key: str = schema.get("x-kubernetes-patch-merge-key") or ""

    def at(self, site: Mapping[str, Any]) -> Node:
        """This node as it stands at a property whose schema says more about it (merging, mostly)."""
        copy = object.__new__(Node)
        for slot in Node.__slots__:
            setattr(copy, slot, getattr(self, slot))
        copy._fields = lambda: self.fields
        copy.shape = None
        if any(key.startswith("x-kubernetes-") for key in site):
            merged = {k: v for k, v in self.schema.items() if k.startswith("x-kubernetes-")} | dict(site)
            copy._merging(merged)
        return copy

    @property
    def fields(self) -> Fields:
        """The named fields, of an object."""
        if callable(self._fields):
            self._fields = self._fields()
        return self._fields

    def field(self, name: str) -> Node | None:
        """What stands below `name`, or None if nothing is known of it."""
        found = self.fields.get(name)
        return found if found is not None else self.values

    def find(self, *path: str) -> Node | None:
        """What stands at the path; lists are entered without a step of their own (`spec`, `containers`, `name`)."""
        node: Node | None = self
        for step in path:
            while node is not None and node.items is not None:
                node = node.items
            node = node.field(step) if node is not None else None
        return node

    def __repr__(self) -> str:
        return f"Node({self.type}{' ' + self.name if self.name else ''})"
