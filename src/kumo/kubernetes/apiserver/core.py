"""What the handlers of resources share: the cache, the storage, what is served, and admission."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, RequestInfo
from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.deliberation import Deliberation
from kumo.kubernetes.apiserver.registry import Registry, Resource
from kumo.kubernetes.apiserver.storage import Storage

Authorize = Callable[[UserInfo, RequestInfo], None]
"""Raises the 403 StatusError unless the user may."""


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
    authorize: Authorize
    """For the writes that turn out to be another deed than the request's verb: a PUT or an apply that creates."""
    deliberation: Deliberation = field(default_factory=Deliberation)
    """Where validation is done that takes long."""

    @staticmethod
    def copy(value: Any) -> Any:
        """A deep copy of a JSON-shaped value."""
        return msgspec.to_builtins(value)

    async def admit(self, attributes: AdmissionAttributes, resource: Resource) -> None:
        """Mutating admission; afterwards the defaults again, for what it added."""
        await self.admission.mutate(attributes)
        if attributes.object is not None and attributes.operation != "DELETE" and not attributes.subresource:
            resource.strategy.default(attributes.object)

    async def check(self, attributes: AdmissionAttributes) -> None:
        """Validating admission."""
        await self.admission.validate(attributes)
