"""The definitions whose objects a webhook converts: what each resource of theirs needs for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from kumo.api.errors import too_many_requests
from kumo.api.objects import Object, name_of
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.conversion.converter import Converter
from kumo.kubernetes.apiserver.conversion.metrics import ConversionMetrics
from kumo.kubernetes.apiserver.conversion.scope import Scope
from kumo.kubernetes.apiserver.conversion.views import VersionCache
from kumo.kubernetes.apiserver.entry import Entry, Shown, shown_entry
from kumo.kubernetes.apiserver.outbound.connections import Connections
from kumo.kubernetes.apiserver.slicing import in_slices
from kumo.kubernetes.apiserver.splice import encode

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.registry import Resource

T = TypeVar("T")


class Conversion:
    """The conversion of one definition as it is now; its resources share it."""

    def __init__(self, name: str, cache: Cache, scope: Scope, converter: Converter) -> None:
        self.name = name
        self._cache = cache
        self._scope = scope
        self._converter = converter
        self._views: dict[str, VersionCache] = {}

    def raw(self, obj: Object, version: str) -> Object:
        """See `versions.Raw`; to be called in `settle`."""
        return self._scope.converted(self._converter, obj, version)

    async def settle(self, do: Callable[[], T]) -> T:
        """See `Scope.settle`."""
        return await self._scope.settle(do)

    async def shown(self, resource: Resource, entries: Sequence[Entry]) -> list[Shown]:
        """The entries in the resource's version, with few calls of the webhook. Raises the StatusError of a failure."""
        versions, version = resource.forms, resource.gvk.version
        assert versions is not None
        found = await in_slices(entries, resource.shown)
        waiting = [index for index, entry in enumerate(found) if entry is None]
        if waiting:
            lying = [entries[index] for index in waiting]
            sent = await in_slices(lying, lambda entry: versions.before(entry.object()))
            converted = await self._converter.convert(sent, version, [len(entry.raw) for entry in lying])

            def finish(pair: tuple[Entry, Object]) -> Shown:
                entry, made = pair
                return shown_entry(entry, encode(versions.after(made, entry.object())))

            made = await in_slices(zip(lying, converted, strict=True), finish)
            for index, entry in zip(waiting, made, strict=True):
                found[index] = entry
        return [entry for entry in found if entry is not None]

    async def view(self, resource: Resource) -> VersionCache:
        """The objects of the resource in its version, with every change that the cache has. Raises StatusError."""
        version = resource.gvk.version
        view = self._views.get(version)
        if view is None:
            base = self._cache.of(resource.stored.group, resource.stored.resource)
            view = self._views[version] = VersionCache(
                self._cache,
                base,
                lambda entries: self.shown(resource, entries),
                resource.strategy.selectable_fields,
                lambda: self._views.pop(version, None),
            )
        await view.caught_up()
        return view

    def changed(self, revision: int, old: Entry | None, new: Entry | None) -> None:
        """Tell the views of a change of what is stored."""
        for view in self._views.values():
            view.changed(revision, old, new)

    def close(self) -> None:
        """End the views: the definition is another, or gone."""
        for view in list(self._views.values()):
            view.close(too_many_requests("storage is (re)initializing"))


class Conversions:
    """The conversions by webhooks of one API server."""

    def __init__(self, reader: Reader, cache: Cache) -> None:
        self.metrics = ConversionMetrics()
        self._cache = cache
        self._connections = Connections(reader)
        self._scope = Scope()
        self._by_name: dict[str, Conversion] = {}
        self._listening: set[tuple[str, str]] = set()

    async def settle(self, do: Callable[[], T]) -> T:
        """The result of a function that may need conversions of whatever resource; see `Scope.settle`."""
        return await self._scope.settle(do) if self._by_name else do()

    def of(self, definition: Object) -> Conversion | None:
        """The conversion of a definition in its present state, in place of the one before; None where none is needed.

        An object can lie in another version only where there are several.
        """
        name, spec = name_of(definition), definition["spec"]
        self.drop(name)
        if (spec.get("conversion") or {}).get("strategy") != "Webhook" or len(spec["versions"]) == 1:
            return None
        converter = Converter(definition, self._connections, self.metrics)
        self._by_name[name] = found = Conversion(name, self._cache, self._scope, converter)
        place = (spec["group"], spec["names"]["plural"])
        if place not in self._listening:
            self._listening.add(place)
            self._cache.listen(*place, self._changed)
        return found

    def drop(self, name: str) -> None:
        """Forget a definition."""
        found = self._by_name.pop(name, None)
        if found is not None:
            found.close()

    async def close(self) -> None:
        """End all views and connections."""
        for name in list(self._by_name):
            self.drop(name)
        await self._connections.close()

    def _changed(self, group: str, resource: str, old: Entry | None, new: Entry | None) -> None:
        found = self._by_name.get(f"{resource}.{group}")
        if found is not None and (old is not None or new is not None):
            found.changed(self._cache.of(group, resource).revision, old, new)
