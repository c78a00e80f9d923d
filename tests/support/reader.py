"""The API server's `Reader` over objects in memory, for tests of what reads through it."""

from __future__ import annotations

import copy
from collections.abc import Callable

from kumo.api.objects import Key, Object, key_of, new_uid
from kumo.api.resources import GVR


class MemoryReader:
    """Objects by resource; `put` and `drop` raise the resource's revision."""

    def __init__(self) -> None:
        self._objects: dict[GVR, dict[Key, Object]] = {}
        self._revisions: dict[GVR, int] = {}
        self._listeners: dict[GVR, list[Callable[[str, str], None]]] = {}

    def put(self, gvr: GVR, obj: Object) -> Object:
        obj.setdefault("metadata", {}).setdefault("uid", new_uid())
        self._objects.setdefault(gvr, {})[key_of(obj)] = obj
        self._changed(gvr, key_of(obj))
        return obj

    def drop(self, gvr: GVR, name: str, namespace: str = "") -> None:
        del self._objects[gvr][Key(namespace, name)]
        self._changed(gvr, Key(namespace, name))

    def _changed(self, gvr: GVR, key: Key) -> None:
        self._revisions[gvr] = self._revisions.get(gvr, 0) + 1
        for listener in self._listeners.get(gvr, ()):
            listener(key.namespace, key.name)

    def listen(self, gvr: GVR, changed: Callable[[str, str], None]) -> None:
        self._listeners.setdefault(gvr, []).append(changed)

    def get(self, gvr: GVR, name: str, namespace: str = "") -> Object | None:
        return copy.deepcopy(self._objects.get(gvr, {}).get(Key(namespace, name)))

    def objects(self, gvr: GVR, namespace: str = "") -> list[Object]:
        found = self._objects.get(gvr, {}).items()
        return [copy.deepcopy(o) for k, o in found if not namespace or k.namespace == namespace]

    def revision(self, gvr: GVR) -> int:
        return self._revisions.get(gvr, 0)
