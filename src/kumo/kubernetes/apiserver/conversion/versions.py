"""The versions of one definition: how objects get from one to another, out of the store and into it. Pure.

Out of the store: pruned and defaulted by the schema of the version in which they lie, converted, pruned by the schema
asked for. Into it: converted, pruned, defaulted. (Upstream: `crdConversionRESTOptionsGetter`.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kumo.api.objects import Object
from kumo.api.schema import CustomKindSchema

Raw = Callable[[Object, str], Object]
"""The object in another version, by the definition's strategy alone: nothing is pruned, no default is set."""


class Versions:
    """`schemas` by version name, `stored` the name of the storage version, `raw` the strategy of conversion."""

    def __init__(self, schemas: Mapping[str, CustomKindSchema], stored: str, raw: Raw | None = None) -> None:
        self._schemas = schemas
        self._stored = stored
        self._raw = raw

    def raw(self, obj: Object, version: str) -> Object:
        """The object in that version, neither pruned nor defaulted; itself when it is in it already."""
        wanted = self._schemas[version].gvk.api_version
        if obj.get("apiVersion") == wanted:
            return obj
        if self._raw is None:
            return {**obj, "apiVersion": wanted}
        return self._raw(obj, version)

    def seen(self, obj: Object, version: str) -> Object:
        """An object that may be a part of one, in that version, as its schema knows it."""
        found = self.raw({**obj, "metadata": obj.get("metadata") or {}}, version)
        return self._schemas[version].pruned(found)

    def into(self, version: str) -> Callable[[Object], Object]:
        """What brings a stored object into the version."""

        def convert(obj: Object) -> Object:
            return self.after(self.raw(self.before(obj), version), obj)

        return convert

    def before(self, obj: Object) -> Object:
        """A stored object as it is sent to be converted: with the defaults of its version, without revision."""
        source = self._source(obj)
        found = source.pruned(obj)
        source.apply_defaults(found)
        if self._raw is not None:
            found["metadata"] = _without_revision(found["metadata"])
        return found

    def after(self, converted: Object, obj: Object) -> Object:
        """What became of the stored `obj`: as its version's schema has it, with the revision back."""
        target = self._schemas[str(converted["apiVersion"]).rpartition("/")[2]]
        found = target.pruned(converted) if target is not self._source(obj) else converted
        revision = obj["metadata"].get("resourceVersion")
        if self._raw is not None and revision is not None:
            found["metadata"] = {"resourceVersion": revision, **found["metadata"]}
        return found

    def version_of(self, obj: Object) -> str:
        """The version in which a stored object lies; that of one that names none of ours is the storage version."""
        name = str(obj.get("apiVersion")).rpartition("/")[2]
        return name if name in self._schemas else self._stored

    def _source(self, obj: Object) -> CustomKindSchema:
        return self._schemas[self.version_of(obj)]

    def to_stored(self, obj: Object) -> Object:
        """The object in the storage version, with its defaults."""
        schema = self._schemas[self._stored]
        if self._raw is not None:
            obj = {**obj, "metadata": _without_revision(obj["metadata"])}
        found = schema.pruned(self.raw(obj, self._stored))
        schema.apply_defaults(found)
        return found


def _without_revision(meta: Object) -> Object:
    return {k: v for k, v in meta.items() if k != "resourceVersion"} if "resourceVersion" in meta else meta
