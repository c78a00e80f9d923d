"""What belongs together in the old and the new state of an object (k8s.io/apiserver/pkg/cel/common, equality)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]
MISSING = object()


def same(one: Any, two: Any) -> bool:
    """Whether two JSON values are equal, in their types too."""
    return bool(one == two) and json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


class MapItems:
    """The items of a list of type map, by their keys; of other lists, none is found."""

    __slots__ = ("_by_key", "_items", "_keys")

    def __init__(self, items: Sequence[Any], keys: tuple[str, ...]) -> None:
        self._items = items
        self._keys = keys
        self._by_key: dict[str, Any] | None = None

    def _key(self, item: Any) -> str:
        return json.dumps([item.get(k) for k in self._keys], sort_keys=True) if isinstance(item, dict) else ""

    def get(self, item: Any) -> Any:
        """The item with the same keys, or None."""
        if not self._keys or not self._items or not isinstance(item, dict):
            return None
        if self._by_key is None:
            self._by_key = {self._key(i): i for i in self._items if isinstance(i, dict)}
        return self._by_key.get(self._key(item))


class Correlated:
    """A place of the new state next to the same place of the old one, or next to the nearest place above it."""

    __slots__ = ("_new", "_old", "_root", "_schema", "_unchanged", "direct")

    def __init__(self, new: Any, old: Any, schema: Schema, root: bool = True, direct: bool = True) -> None:
        self._new = new
        self._old = old
        self._schema = schema
        self._root = root
        self._unchanged: bool | None = None
        self.direct = direct

    def unchanged(self) -> bool:
        """Whether the place (or the nearest one above that was there before) is as it was."""
        if self._unchanged is None:
            self._unchanged = same(self._new, self._old)
        return self._unchanged

    def _above(self) -> Correlated:
        """This place, standing for one below it that has no older state."""
        found = Correlated(self._new, self._old, self._schema, self._root, direct=False)
        found._unchanged = self._unchanged
        return found

    def key(self, name: str) -> Correlated | None:
        """A field; None for apiVersion and kind of the whole object, which are always checked."""
        if not self.direct:
            return self
        if self._root and name in ("apiVersion", "kind"):
            return None
        old, new = self._old, self._new
        if isinstance(old, dict) and name in old and isinstance(new, dict) and name in new:
            below = (self._schema.get("properties") or {}).get(name) or self._schema.get("additionalProperties")
            return Correlated(new[name], old[name], below if isinstance(below, Mapping) else {}, False)
        return self._above()

    def index(self, index: int) -> Correlated:
        """An item of a list; only lists of type map keep their items apart."""
        if not self.direct:
            return self
        keys = tuple(self._schema.get("x-kubernetes-list-map-keys") or ())
        if self._schema.get("x-kubernetes-list-type") == "map" and isinstance(self._old, list):
            new = self._new[index]
            old = MapItems(self._old, keys).get(new)
            if old is not None:
                items = self._schema.get("items")
                return Correlated(new, old, items if isinstance(items, Mapping) else {}, False)
        return self._above()
