"""How admission sees an update that is not simply one of the object: as its Scale, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.registry import Resource


class AdmissionView(Protocol):
    """Takes an update through admission in its own way."""

    async def admit(
        self, core: Core, attributes: AdmissionAttributes, resource: Resource, new: Object, old: Object
    ) -> None:
        """Mutating admission; what it changes goes into `new`, in place."""
        ...

    async def check(self, core: Core, attributes: AdmissionAttributes) -> None:
        """Validating admission."""
        ...


class WholeObject:
    """The update as it is."""

    async def admit(
        self, core: Core, attributes: AdmissionAttributes, resource: Resource, new: Object, old: Object
    ) -> None:
        """Admission may change everything."""
        await core.admit(attributes, resource)
        wanted = attributes.object
        if wanted is not new and wanted is not None:
            new.clear()
            new.update(wanted)
            attributes.object = new

    async def check(self, core: Core, attributes: AdmissionAttributes) -> None:
        """Admission judges the new state."""
        await core.check(attributes)


class Unasked:
    """The API server's own change, or one that admission was asked about before (a binding)."""

    async def admit(
        self, core: Core, attributes: AdmissionAttributes, resource: Resource, new: Object, old: Object
    ) -> None:
        """Nothing."""

    async def check(self, core: Core, attributes: AdmissionAttributes) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Projected:
    """A part of the object under a kind of its own: `show` makes it, `put` takes over what admission made of it."""

    gvk: GVK
    show: Callable[[Object], Object]
    put: Callable[[Object, Object], None]

    async def admit(
        self, core: Core, attributes: AdmissionAttributes, resource: Resource, new: Object, old: Object
    ) -> None:
        """Admission may change the part."""
        attributes.gvk = self.gvk
        attributes.object, attributes.old_object = self.show(new), self.show(old)
        await core.admit(attributes, resource)
        assert attributes.object is not None
        self.put(new, attributes.object)
        attributes.object = self.show(new)

    async def check(self, core: Core, attributes: AdmissionAttributes) -> None:
        """Admission judges the part."""
        await core.check(attributes)


WHOLE = WholeObject()
UNASKED = Unasked()
