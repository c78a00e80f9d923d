"""Reads from the watch cache for the API server's own parts: authentication, authorization, admission."""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.matching import Match


class CacheReader:
    """The `Reader` of `attributes`, over the cache. Objects are in the version in which they are stored."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def get(self, gvr: GVR, name: str, namespace: str = "") -> Object | None:
        """The object, or None."""
        entry = self._cache.of(gvr.group, gvr.resource).get(namespace, name)
        return entry.object() if entry is not None else None

    def objects(self, gvr: GVR, namespace: str = "") -> list[Object]:
        """All objects of the resource, of one namespace if given."""
        where = self._cache.of(gvr.group, gvr.resource)
        return [entry.object() for entry in where.entries(Match(namespace))] if len(where) else []

    def revision(self, gvr: GVR) -> int:
        """The revision of the last change to any object of the resource."""
        return self._cache.of(gvr.group, gvr.resource).revision

    def listen(self, gvr: GVR, changed: Callable[[str, str], None]) -> None:
        """Call `changed` with namespace and name after each change of the resource."""

        def told(_group: str, _resource: str, old: Entry | None, new: Entry | None) -> None:
            entry = new or old
            if entry is not None:
                changed(entry.namespace, entry.name)

        self._cache.listen(gvr.group, gvr.resource, told)
