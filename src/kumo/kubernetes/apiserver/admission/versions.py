"""The object of a write as webhooks and policies see it: in the version they want, and back after they changed it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.schema import DecodeError, KindSchema, builtin_schema
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Target
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.conversion.converter import ConversionFailed

T = TypeVar("T")


def internal_error(message: str) -> StatusError:
    """500 with its cause in the details, as upstream's NewInternalError."""
    details = {"causes": [{"message": message}]}
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", details)


class ConversionRefused(StatusError):
    """500: the object can't be had in the version that a webhook or policy wants."""


class Seen:
    """A write's new and old object in a target's version; conversions are made once."""

    def __init__(self, attrs: AdmissionAttributes, equivalents: Equivalents) -> None:
        self._attrs = attrs
        self._equivalents = equivalents
        self._old: dict[Target, Object | None] = {}
        self._ready: dict[Target, tuple[Object | None, Object | None]] = {}
        """The new object in other versions, each with that of which it was made."""

    def new(self, target: Target) -> Object | None:
        """The object as it is now."""
        made = self._ready.get(target)
        if made is not None and made[0] is self._attrs.object:
            return made[1]
        return self._converted(self._attrs.object, target)

    def old(self, target: Target) -> Object | None:
        """The old object."""
        if target not in self._old:
            self._old[target] = self._converted(self._attrs.old_object, target)
        return self._old[target]

    def _converted(self, obj: Object | None, target: Target) -> Object | None:
        attrs = self._attrs
        if obj is None or target.gvr == attrs.gvr:
            return obj
        return self._equivalents.convert(obj, attrs.gvr, target.gvr)

    def take(self, patched: Object, target: Target) -> bool:
        """Take over what a webhook or policy made of the object; whether that changes anything. Raises 500."""
        attrs = self._attrs
        if patched.get("kind") != target.gvk.kind or patched.get("apiVersion") != target.gvk.api_version:
            wanted, got = target.gvk, f"{str(patched.get('apiVersion')).rpartition('/')[2]}.{patched.get('kind')}"
            raise internal_error(f"converting ({got}) to ({wanted.version}.{wanted.kind}): unknown conversion")
        before = self.new(target)
        obj = self._conform(patched, target)
        changed = obj != before
        if target.gvr != attrs.gvr:
            obj = self._equivalents.convert(obj, target.gvr, attrs.gvr)
            own = self._equivalents.resource(attrs.gvr)
            if own is not None and own.forms is not None and obj.get("kind") == own.gvk.kind:
                obj = own.forms.seen(obj, own.gvk.version)
        attrs.object = obj
        return changed

    async def ready(self, target: Target) -> None:
        """Convert the old object, and the new one as it is now, so that `new` and `old` need not wait."""
        if target.gvr == self._attrs.gvr:
            return
        self._ready[target] = await self.settle(
            lambda: (self._attrs.object, self._converted(self._attrs.object, target))
        )
        if target not in self._old:
            self._old[target] = await self.settle(lambda: self._converted(self._attrs.old_object, target))

    async def settle(self, do: Callable[[], T]) -> T:
        """See `Equivalents.settle`. Raises 500, as admission says it, where a webhook has not converted."""
        try:
            return await self._equivalents.settle(do)
        except ConversionFailed as error:
            found = internal_error(error.message)
            raise ConversionRefused(found.code, found.reason, found.message, found.details) from None

    def schema(self, target: Target) -> KindSchema | None:
        """The schema of the target's kind, if there is one."""
        resource = self._equivalents.resource(target.gvr)
        if resource is not None and resource.gvk == target.gvk:
            return resource.schema
        return _schema(target.gvk)

    def _conform(self, obj: Object, target: Target) -> Object:
        """The object as its schema has it, with the defaults of what was added. Raises 500."""
        resource = self._equivalents.resource(target.gvr)
        own = resource is not None and resource.gvk == target.gvk
        schema = self.schema(target)
        if schema is None:
            return obj
        if own and resource is not None and resource.forms is not None and target.gvr != self._attrs.gvr:
            # What this version does not know may be known to that in which the object is written.
            resource.strategy.default(obj)
            return obj
        try:
            found = schema.decode(obj).object
        except DecodeError as error:
            raise internal_error(str(error).rpartition(f"as a {target.gvk.kind}: ")[2]) from None
        if own and resource is not None:
            resource.strategy.default(found)
        return found


def _schema(gvk: GVK) -> KindSchema | None:
    try:
        return builtin_schema(gvk)
    except (KeyError, LookupError):
        return None
