"""The steps that a write of a built-in object takes, kind by kind: upstream's registry strategies."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Literal

from kumo.api import names
from kumo.api.errors import Cause
from kumo.api.objects import Object, labels_of, metadata
from kumo.api.resources import GVK
from kumo.api.schema import builtin_schema
from kumo.kubernetes.apiserver.deliberation import Haste
from kumo.kubernetes.apiserver.kinds.metadata import (
    validate_finalizers,
    validate_metadata,
    validate_metadata_update,
)
from kumo.kubernetes.apiserver.kinds.rules import Rules, as_field, at

_STATUS_KEEPS: tuple[str, ...] = ("generation", "deletionTimestamp", "deletionGracePeriodSeconds")
_STATUS_RESETS = ("selfLink", "labels", "annotations", "finalizers", "ownerReferences")


@dataclass(frozen=True, slots=True)
class Strategy:
    """What happens to objects of one kind on their way to the store. Objects are changed in place.

    Order of a create: `default`, `prepare_create`, (admission), `validate_create`. Of an update: `default`,
    `prepare_update`, (admission), `settle`, `validate_update`; for a status write, all with `subresource="status"`.
    """

    gvk: GVK
    namespaced: bool
    rules: Rules
    haste: Haste | None = None
    """Looked at by validation that may take long (see `deliberation`); None where it can't."""

    @property
    def has_status(self) -> bool:
        """Whether status is written by its own subresource only."""
        return self.rules.has_status

    @property
    def allow_create_on_update(self) -> bool:
        """Whether a PUT of an object that is not there creates it."""
        return self.rules.allow_create_on_update

    @property
    def unconditional_update(self) -> bool:
        """Whether an update need not say which version it was made from."""
        return self.rules.unconditional_update

    def default(self, obj: Object) -> None:
        """Set upstream's defaults."""
        self.rules.default(obj)

    def prepare_create(self, obj: Object) -> None:
        """Wipe what a client may not set at creation (status), and start the generation."""
        if self.rules.has_status and not self.rules.status_on_create:
            obj.pop("status", None)
        if self.rules.has_generation:
            metadata(obj)["generation"] = 1
        self.rules.on_create(obj)
        if self.rules.has_status and self.rules.empty_status and not obj.get("status"):
            obj["status"] = copy.deepcopy(_empty_status(self.gvk))

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        """Carry over what this write may not change: status by the object, everything else by its status.

        The generation grows when anything but metadata and status differs (and, elsewhere, when deletion begins).
        """
        if subresource == "status":
            _keep_all_but_status(new, old, self.rules.status_keeps_metadata)
            self.rules.prepare_status(new, old)
        part = self.rules.parts.get(subresource)
        if part is not None:
            part.prepare(new, old)
        if part is not None or subresource == "status":
            return
        if self.rules.has_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        generation = (old.get("metadata") or {}).get("generation")
        if generation is not None:
            metadata(new)["generation"] = generation
        else:
            metadata(new).pop("generation", None)
        self.rules.on_update(new, old)

    def settle(self, new: Object, old: Object, subresource: str = "") -> None:
        """After admission: count the generation if anything but metadata and status differs."""
        if subresource not in ("", "scale") or not self.rules.has_generation:
            return
        if (
            _differs(new, old)
            or (self.rules.counts_annotations and _annotations(new) != _annotations(old))
            or (self.rules.counts_labels and labels_of(new) != labels_of(old))
        ):
            metadata(new)["generation"] = ((old.get("metadata") or {}).get("generation") or 0) + 1

    def validate_create(self, obj: Object) -> list[Cause]:
        """What is wrong with a new object."""
        found = validate_metadata(obj, self.namespaced, self.rules.check_name, any_finalizer=self.rules.any_finalizer)
        return found + self.rules.validate(obj) + self.rules.validate_create(obj)

    def validate_update(self, new: Object, old: Object, subresource: str = "") -> list[Cause]:
        """What is wrong with the new state of an object."""
        again = self.rules.revalidates
        found = self._validate_metadata(new, old, whole=again == "only" or (again and not subresource))
        part = self.rules.parts.get(subresource)
        if part is not None:
            return found + part.validate(new, old)
        if subresource == "status":
            return found + self.rules.validate_status(new, old)
        if self.rules.check_update is not None:
            return found + self.rules.check_update(new, old)
        return found + self.rules.validate_update(new, old) + self.rules.validate(new)

    def _validate_metadata(self, new: Object, old: Object, *, whole: bool) -> list[Cause]:
        """What is wrong with the metadata of a new state, as often as upstream says it.

        Once as of a new object and once as of an update for every kind; then the kind's own strategy does it again, the
        `whole` if it looks at the object as at a new one.
        """
        rules = self.rules
        found = validate_metadata(new, self.namespaced, names.check_path_segment, any_finalizer=True)
        changes = validate_metadata_update(new, old)
        found += changes
        if rules.revalidates != "only":
            found += changes
            if not rules.any_finalizer:
                found += validate_finalizers(new)
        if whole:
            found += validate_metadata(new, self.namespaced, rules.check_name, any_finalizer=rules.any_finalizer)
        return found

    def warnings(self, new: Object, old: Object | None = None, subresource: str = "") -> list[str]:
        """What the writer should be told of an object that is good: deprecated and misleading fields."""
        if subresource == "status":
            return self.rules.warn_status(new, old or {}) if self.rules.warn_status is not None else []
        if subresource or self.rules.warn is None:
            return []
        return self.rules.warn(new, old)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """The fields that a field selector can ask for, with this object's values; all texts."""
        meta = obj.get("metadata") or {}
        found = {"metadata.name": meta.get("name") or ""}
        if self.namespaced:
            found["metadata.namespace"] = meta.get("namespace") or ""
        for name, source in self.rules.fields.items():
            found[name] = source(obj) if callable(source) else as_field(at(obj, source))
        return found

    def selectable(self) -> tuple[str, ...]:
        """The names of those fields."""
        base = ("metadata.name", "metadata.namespace") if self.namespaced else ("metadata.name",)
        return (*base, *self.rules.fields)


def _keep_all_but_status(new: Object, old: Object, metadata_too: bool | Literal["whole"]) -> None:
    """A status write: what is neither metadata nor status stays; `metadata_too`: (the `whole`) metadata stays too."""
    for key in [k for k in new if k not in ("apiVersion", "kind", "metadata", "status")]:
        if key not in old:
            del new[key]
    for key, value in old.items():
        if key not in ("apiVersion", "kind", "metadata", "status"):
            new[key] = value
    fresh, stale = metadata(new), old.get("metadata") or {}
    kept = _STATUS_KEEPS + _STATUS_RESETS if metadata_too else _STATUS_KEEPS
    if metadata_too == "whole":
        kept = tuple({*fresh, *stale} - {"managedFields", "resourceVersion"})
    for key in kept:
        if key in stale:
            fresh[key] = stale[key]
        else:
            fresh.pop(key, None)


def _annotations(obj: Object) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("annotations") or {}


def _differs(new: Object, old: Object) -> bool:
    ignored = ("metadata", "status", "apiVersion", "kind")
    mine = {k: v for k, v in new.items() if k not in ignored}
    return mine != {k: v for k, v in old.items() if k not in ignored}


@cache
def _empty_status(gvk: GVK) -> Object:
    """The status of a kind whose fields all are zero: `{}`, `{"replicas": 0}`."""
    made = builtin_schema(gvk).decode({"apiVersion": gvk.api_version, "kind": gvk.kind}).object
    found: Object = made.get("status") or {}
    return found
