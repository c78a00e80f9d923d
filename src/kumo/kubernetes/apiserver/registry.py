"""The resources that are served: the built-in ones, and the custom ones as their definitions come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kumo.api.builtin import RESOURCE_TYPES, is_stored, storage_type
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK, ResourceType, Subresource
from kumo.api.schema import KindSchema, builtin_schema
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.deliberation import Haste
from kumo.kubernetes.apiserver.entry import Entry, Shown, shown_entry
from kumo.kubernetes.apiserver.kinds import strategy_for
from kumo.kubernetes.apiserver.kinds.conversion import converters
from kumo.kubernetes.apiserver.splice import at_version, beginning, encode
from kumo.kubernetes.apiserver.watch_hub import View

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.conversion.conversions import Conversion
    from kumo.kubernetes.apiserver.conversion.versions import Versions

_DEPRECATED = {
    GVK("", "v1", "Endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
"""What clients of built-in kinds are told that have a successor."""

T = TypeVar("T")
Convert = Callable[[Object], Object]


class KindStrategy(Protocol):
    """What is done to objects of a kind on their way to the store; see `kinds.strategy.Strategy`."""

    @property
    def allow_create_on_update(self) -> bool:
        """Whether a PUT of an object that is not there creates it."""
        ...

    @property
    def unconditional_update(self) -> bool:
        """Whether an update need not say which version it was made from."""
        ...

    @property
    def haste(self) -> Haste | None:
        """What validation that may take long looks at (`deliberation`); None where it can't."""
        ...

    def default(self, obj: Object) -> None:
        """Set defaults in place."""
        ...

    def prepare_create(self, obj: Object) -> None:
        """Wipe what a client may not set."""
        ...

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        """Carry over what the write may not change."""
        ...

    def settle(self, new: Object, old: Object, subresource: str = "") -> None:
        """Count the generation, when nothing changes the object any more."""
        ...

    def validate_create(self, obj: Object) -> list[Cause]:
        """What is wrong with a new object."""
        ...

    def validate_update(self, new: Object, old: Object, subresource: str = "") -> list[Cause]:
        """What is wrong with an object's new state."""
        ...

    def warnings(self, new: Object, old: Object | None = None, subresource: str = "") -> list[str]:
        """What the writer of a good object should be told."""
        ...

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """The values of the fields that a selector can ask for."""
        ...

    def selectable(self) -> tuple[str, ...]:
        """The names of those fields."""
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a kind keeps what its scale subresource shows: dotted paths (`spec.replicas`)."""

    spec: str
    status: str
    selector: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One served version of a resource.

    `stored` says where and in which version objects lie; `to_stored` and `from_stored` convert, None for no change.
    """

    type: ResourceType
    stored: ResourceType
    schema: KindSchema
    strategy: KindStrategy
    columns: tuple[Mapping[str, Any], ...] | None = None
    """The additionalPrinterColumns of a custom resource."""
    custom: Object | None = None
    """The definition of a custom resource."""
    scale: Scale | None = None
    to_stored: Convert | None = None
    from_stored: Convert | None = None
    fresh_from: int = 0
    """From this revision on, what the store has is in this version already (0: never, if `from_stored` is set)."""
    deprecated: str = ""
    """What clients of this version are told."""
    conversion: Conversion | None = None
    """The webhook through which the custom resource goes from version to version."""
    family: Mapping[str, Resource] | None = None
    """The custom resource in all versions that its definition has, served or not, in the definition's order."""
    forms: Versions | None = None
    """How objects of the custom resource get from version to version."""
    head: bytes = b""
    """How the bytes of a custom resource that lies in this version begin."""
    versions: int = 1
    """In how many versions the custom resource is served: with more than one, stored bytes may name another."""

    @property
    def gvk(self) -> GVK:
        """What its objects name."""
        return self.type.gvk

    def raw(self, entry: Entry) -> bytes:
        """The entry's JSON in this version."""
        if self.from_stored is not None:
            if type(entry) is Shown or self._fresh(entry):
                return entry.raw
            return encode(self.from_stored(entry.object()))
        if self.versions > 1:
            return at_version(entry.raw, self.gvk.api_version)
        return entry.raw

    def object(self, entry: Entry) -> Object:
        """The entry's object in this version, the caller's to change."""
        found = entry.object()
        if self.from_stored is not None:
            return found if type(entry) is Shown else self.from_stored(found)
        found["apiVersion"] = self.gvk.api_version
        return found

    def shown(self, entry: Entry) -> Shown | None:
        """The entry of a resource with a conversion as it is to be served; None if only its webhook can tell."""
        if type(entry) is Shown:
            return entry
        if self._fresh(entry):
            return shown_entry(entry, entry.raw)
        assert self.forms is not None and self.from_stored is not None
        obj = entry.object()
        if self.forms.version_of(obj) != self.gvk.version:
            return None
        return shown_entry(entry, encode(self.from_stored(obj)))

    def _fresh(self, entry: Entry) -> bool:
        """Whether the entry was written in this version, as the present definition has it.

        A write that began under an earlier definition may end under this one: the bytes have the last word.
        """
        return bool(self.fresh_from) and entry.revision >= self.fresh_from and entry.raw.startswith(self.head)

    def outdated(self, entry: Entry) -> bool:
        """Whether the object lies in another version than it would be written in now."""
        return self.versions > 1 and not entry.raw.startswith(beginning(self.stored.gvk.api_version))

    async def presented(self, entry: Entry) -> Entry:
        """The entry as it is served, if a webhook has to be asked for that; else itself. Raises StatusError."""
        return entry if self.conversion is None else (await self.conversion.shown(self, [entry]))[0]

    async def settled(self, do: Callable[[], T]) -> T:
        """The result of a function that may need objects of the resource in other versions (`conversion.scope`)."""
        return do() if self.conversion is None else await self.conversion.settle(do)

    @property
    def plain(self) -> bool:
        """Whether the bytes in the cache are those to serve."""
        return self.from_stored is None and self.versions == 1

    def view(self) -> View:
        """The form of its watch events."""
        return View() if self.plain else View(self.gvk.api_version, self.raw)

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of that name."""
        return next((s for s in self.type.subresources if s.name == name), None)


@dataclass(slots=True)
class Registry:
    """What is served, by group, version and resource. `generation` grows with each change."""

    cache: Cache
    generation: int = 0
    _resources: dict[tuple[str, str, str], Resource] = field(default_factory=dict)

    def find(self, group: str, version: str, resource: str) -> Resource | None:
        """The resource, or None."""
        return self._resources.get((group, version, resource))

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._resources.values()))

    def add(self, resource: Resource) -> None:
        """Serve the resource, in place of one of the same name."""
        kind = resource.type
        self._resources[(kind.group, kind.version, kind.resource)] = resource
        where = self.cache.of(resource.stored.group, resource.stored.resource)
        if resource.gvk == resource.stored.gvk:
            where.selectable_fields = resource.strategy.selectable_fields
        elif kind.group != resource.stored.group:
            # Another group's name for the same objects has names of its own for their fields too (events).
            first, second = where.selectable_fields, resource.strategy.selectable_fields
            where.selectable_fields = lambda obj: {**second(obj), **first(obj)}
        self.generation += 1

    def remove(self, group: str, version: str, resource: str) -> None:
        """Serve the resource no more."""
        if self._resources.pop((group, version, resource), None) is not None:
            self.generation += 1


def builtin_versions() -> set[tuple[str, str]]:
    """The group versions that are always served."""
    return {(kind.group, kind.version) for kind in RESOURCE_TYPES} - {("apiregistration.k8s.io", "v1")}


BUILTIN_GROUPS = frozenset(kind.group for kind in RESOURCE_TYPES)
"""The groups of which unknown paths are refused with a Status; those of others lead nowhere at all."""


def add_builtin(registry: Registry) -> None:
    """Serve every built-in resource that has objects."""
    for kind in RESOURCE_TYPES:
        if is_stored(kind):
            stored = storage_type(kind)
            to_stored, from_stored = converters(kind.gvk) or (None, None)
            registry.add(
                Resource(
                    kind,
                    stored,
                    builtin_schema(kind.gvk),
                    strategy_for(kind.gvk),
                    scale=_scale(kind),
                    deprecated=_DEPRECATED.get(kind.gvk, ""),
                    to_stored=to_stored,
                    from_stored=from_stored,
                )
            )


def _scale(kind: ResourceType) -> Scale | None:
    if not any(s.name == "scale" for s in kind.subresources):
        return None
    return Scale("spec.replicas", "status.replicas", "spec.selector")
