"""The other ways to see a request: the same resource in other served versions or groups, and conversion between them.

Upstream's EquivalentResourceRegistry: resources that are stored in one place are equivalent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kumo.api.errors import internal
from kumo.api.objects import Object
from kumo.api.resources import GVK, GVR
from kumo.kubernetes.apiserver.conversion.conversions import Conversions
from kumo.kubernetes.apiserver.registry import Registry, Resource

T = TypeVar("T")
Pairs = tuple[tuple[GVR, GVK], ...]


class Equivalents:
    """Knows what is served; answers are remembered until that changes. `conversions` are those by webhooks."""

    def __init__(self, registry: Registry, conversions: Conversions | None = None) -> None:
        self._registry = registry
        self._conversions = conversions
        self._generation = -1
        self._known: dict[tuple[GVR, str], Pairs] = {}
        self._hidden: dict[tuple[str, str, str], Resource] = {}
        """The versions of custom resources, those that are not served too."""

    @property
    def generation(self) -> int:
        """Grows when what is served changes."""
        return self._registry.generation

    def resource(self, gvr: GVR) -> Resource | None:
        """The served resource; of a custom one also a version that is not served, as it can be converted to."""
        found = self._registry.find(gvr.group, gvr.version, gvr.resource)
        if found is None:
            self._refresh()
            found = self._hidden.get((gvr.group, gvr.version, gvr.resource))
        return found

    def serves(self, gvr: GVR) -> bool:
        """Whether requests may name the resource."""
        return self._registry.find(gvr.group, gvr.version, gvr.resource) is not None

    async def settle(self, do: Callable[[], T]) -> T:
        """The result of a function that calls `convert`: where a webhook has to be asked, it is called again."""
        return do() if self._conversions is None else await self._conversions.settle(do)

    def named(self, group: str, version: str, resource: str) -> Resource | None:
        """The served resource of that name."""
        return self._registry.find(group, version, resource)

    def of_kind(self, gvk: GVK) -> Resource | None:
        """The served resource whose objects are of that kind."""
        return next((r for r in self._registry if r.gvk == gvk), None)

    def of(self, gvr: GVR, subresource: str, gvk: GVK) -> Pairs:
        """The equivalents of a resource, without itself, and the kind that each has (for the subresource)."""
        self._refresh()
        key = (gvr, subresource)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(gvr, subresource, gvk)
        return found

    def _refresh(self) -> None:
        if self._generation == self._registry.generation:
            return
        self._known, self._generation = {}, self._registry.generation
        families = [found.family for found in self._registry if found.family is not None]
        self._hidden = {
            (r.type.group, r.type.version, r.type.resource): r for family in families for r in family.values()
        }

    def _find(self, gvr: GVR, subresource: str, gvk: GVK) -> Pairs:
        own = self.resource(gvr)
        if own is None:
            return ()
        where = (own.stored.group, own.stored.resource)
        found = []
        for other in self._registry if own.family is None else own.family.values():
            if other.type.gvr == gvr or (other.stored.group, other.stored.resource) != where:
                continue
            if subresource and other.subresource(subresource) is None:
                continue
            found.append((other.type.gvr, other.gvk if gvk == own.gvk else gvk))
        return tuple(found)

    def convert(self, obj: Object, source: GVR, target: GVR) -> Object:
        """The object of one resource as one of its equivalent; to be called in `settle`.

        Raises 500 when one of them is there no more.
        """
        mine, theirs = self.resource(source), self.resource(target)
        if mine is None or theirs is None:
            raise internal(f"unable to convert to {target.group}/{target.version}, Resource={target.resource}")
        if obj.get("kind") != mine.gvk.kind:
            return obj  # A subresource's kind is the same in every version.
        if mine.forms is not None:
            return mine.forms.raw(obj, theirs.gvk.version)
        stored = mine.to_stored(obj) if mine.to_stored is not None else obj
        found = theirs.from_stored(stored) if theirs.from_stored is not None else dict(stored)
        found["apiVersion"], found["kind"] = theirs.gvk.api_version, theirs.gvk.kind
        return found
