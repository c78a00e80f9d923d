"""The other ways to see a request: the same resource in other served versions or groups, and conversion between them.

Upstream's EquivalentResourceRegistry: resources that are stored in one place are equivalent.
"""

from __future__ import annotations

from kumo.api.errors import internal
from kumo.api.objects import Object
from kumo.api.resources import GVK, GVR
from kumo.kubernetes.apiserver.registry import Registry, Resource

Pairs = tuple[tuple[GVR, GVK], ...]


class Equivalents:
    """Knows what is served; answers are remembered until that changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._known: dict[tuple[GVR, str], Pairs] = {}

    @property
    def generation(self) -> int:
        """Grows when what is served changes."""
        return self._registry.generation

    def resource(self, gvr: GVR) -> Resource | None:
        """The served resource."""
        return self._registry.find(gvr.group, gvr.version, gvr.resource)

    def named(self, group: str, version: str, resource: str) -> Resource | None:
        """The served resource of that name."""
        return self._registry.find(group, version, resource)

    def of_kind(self, gvk: GVK) -> Resource | None:
        """The served resource whose objects are of that kind."""
        return next((r for r in self._registry if r.gvk == gvk), None)

    def of(self, gvr: GVR, subresource: str, gvk: GVK) -> Pairs:
        """The equivalents of a resource, without itself, and the kind that each has (for the subresource)."""
        if self._generation != self._registry.generation:
            self._known, self._generation = {}, self._registry.generation
        key = (gvr, subresource)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(gvr, subresource, gvk)
        return found

    def _find(self, gvr: GVR, subresource: str, gvk: GVK) -> Pairs:
        own = self.resource(gvr)
        if own is None:
            return ()
        where = (own.stored.group, own.stored.resource)
        found = []
        for other in self._registry:
            if other is own or (other.stored.group, other.stored.resource) != where:
                continue
            if subresource and other.subresource(subresource) is None:
                continue
            found.append((other.type.gvr, other.gvk if gvk == own.gvk else gvk))
        return tuple(found)

    def convert(self, obj: Object, source: GVR, target: GVR) -> Object:
        """The object of one resource as one of its equivalent. Raises 500 when one of them is served no more."""
        mine, theirs = self.resource(source), self.resource(target)
        if mine is None or theirs is None:
            raise internal(f"unable to convert to {target.group}/{target.version}, Resource={target.resource}")
        if obj.get("kind") != mine.gvk.kind:
            return obj  # A subresource's kind is the same in every version.
        stored = mine.to_stored(obj) if mine.to_stored is not None else obj
        found = theirs.from_stored(stored) if theirs.from_stored is not None else dict(stored)
        found["apiVersion"], found["kind"] = theirs.gvk.api_version, theirs.gvk.kind
        return found
