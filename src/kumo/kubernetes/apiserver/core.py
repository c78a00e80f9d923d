"""What the handlers of resources share: the cache, the storage, what is served, and admission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from kumo.api.objects import Object
from kumo.api.patch.merge_patch import apply_merge_patch
from kumo.api.patch.strategic import apply_strategic_patch
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.registry import Registry, Resource
from kumo.kubernetes.apiserver.storage import Storage


class Admission(Protocol):
    """The admission chain."""

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        """Change the object, or refuse (StatusError)."""
        ...

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Refuse (StatusError), or not."""
        ...

    def abandon(self, attrs: AdmissionAttributes) -> None:
        """The write will not reach the store: give back what `mutate` gave it."""
        ...


@dataclass(slots=True)
class Core:
    """The parts of one API server that its handlers use."""

    cache: Cache
    storage: Storage
    registry: Registry
    admission: Admission

    @staticmethod
    def copy(value: Any) -> Any:
        """A deep copy of a JSON-shaped value."""
        return msgspec.to_builtins(value)

    @staticmethod
    def apply(resource: Resource, old: Object, applied: Object, manager: str, force: bool) -> Object:
        """The object with an applied configuration merged in."""
        if resource.custom is not None:
            merged: Object = apply_merge_patch(old, applied)
            return merged
        return apply_strategic_patch(old, applied, resource.schema.root)

    async def admit(self, attributes: AdmissionAttributes, resource: Resource) -> None:
        """Mutating admission; afterwards the defaults again, for what it added."""
        await self.admission.mutate(attributes)
        if attributes.object is not None and attributes.operation != "DELETE" and not attributes.subresource:
            resource.strategy.default(attributes.object)

    async def check(self, attributes: AdmissionAttributes) -> None:
        """Validating admission."""
        await self.admission.validate(attributes)
