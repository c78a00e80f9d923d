"""The books of every write but an apply: what a create, update or patch changed is its manager's from then on.

Source: `managedfields.FieldManager.Update` and `structured-merge-diff/merge.Updater.Update`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from kumo.api.objects import Object, timestamp
from kumo.api.patch.field_sets import FieldSet, difference, intersection, union, without
from kumo.api.patch.managers import (
    MAX_UPDATERS,
    UNTRACKED,
    UPDATE,
    Managed,
    ManagerKey,
    Managers,
    cap_updaters,
    manager_key,
    stated_managers,
    strip,
    write_managers,
)
from kumo.api.patch.shapes import Shape
from kumo.api.patch.typed import Difference, compare, made, reconciled

View = Callable[[Object, str], "tuple[Object, Shape] | None"]
"""Gives an object in another version, and that version's shape; None for a version that is not served (any more)."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """How the fields of one kind in one version are tracked, for writes of the object or of one subresource.

    `reset` are the fields that such writes have no effect on; `view` converts to the versions of other managers.
    `may_change`: the schema may be another than when the books were written (custom kinds).
    """

    shape: Shape
    api_version: str
    view: View
    subresource: str = ""
    reset: FieldSet = field(default_factory=dict)
    may_change: bool = False

    def updated(
        self, old: Object | None, new: Object, manager: str, *, stated: list[Object] | None = None, now: str = ""
    ) -> list[Object]:
        """The `managedFields` of `new`, which `manager` made of `old` (None: out of nothing).

        `stated` are those that the write itself gives, for it may change them. Objects without any stay without, until
        somebody applies. Neither object is changed; their own `managedFields` count only as said.
        """
        if self.subresource:
            stated = None
        live = (old.get("metadata") or {}).get("managedFields") if old is not None else None
        managers = stated_managers(stated, live)
        if not managers and old is not None:
            return []
        before, after = self._zero() if old is None else _bare(old), _bare(new)
        if before == after and not self.may_change and managers and (stated is None or stated == live):
            return live or []
        managers = self.reconcile(before, managers)
        mine = strip(self.take(before, after, managers, None).changed)
        if mine:
            key = manager_key(manager or "unknown", UPDATE, self.api_version, self.subresource)
            last = managers.get(key)
            fields = union(last.fields, mine) if last is not None else mine
            managers[key] = Managed(fields, self.api_version, now or timestamp())
        if len(managers) > MAX_UPDATERS:
            cap_updaters(managers)
        return write_managers(managers)

    def _zero(self) -> Object:
        return zero_object(self.shape)

    # -- shared with apply -----------------------------------------------------------------------------------------

    def compare(self, old: Object, new: Object) -> Difference:
        """What makes `new` of `old`, without what such writes have no effect on."""
        found = compare(self.shape, old, new) if old is not self._zero() else made(self.shape, new)
        if not self.reset:
            return found
        return Difference(without(found.changed, self.reset), without(found.removed, self.reset))

    def conflicts(
        self, old: Object, new: Object, managers: Managers, own: ManagerKey | None
    ) -> tuple[Difference, dict[ManagerKey, FieldSet]]:
        """What changes, and which of it belongs to other managers; managers of versions unknown are dropped."""
        mine = self.compare(old, new)
        by_version: dict[str, Difference | None] = {self.api_version: mine}
        found: dict[ManagerKey, FieldSet] = {}
        for key, managed in list(managers.items()):
            if key == own:
                continue
            version = managed.api_version
            if version not in by_version:
                by_version[version] = self._compare_in(old, new, version)
            change = by_version[version]
            if change is None:
                del managers[key]
                continue
            taken = intersection(managed.fields, change.changed) if change.changed else {}
            if taken:
                found[key] = taken
            if change.removed:
                rest = difference(managed.fields, change.removed)
                managers[key] = replace(managed, fields=rest)
        return mine, found

    def _compare_in(self, old: Object, new: Object, version: str) -> Difference | None:
        before, after = self.view(old, version), self.view(new, version)
        if before is None or after is None:
            return None
        return compare(before[1], before[0], after[0])

    def take(self, old: Object, new: Object, managers: Managers, own: ManagerKey | None) -> Difference:
        """Take from the other managers, in place, what changes."""
        mine, taken = self.conflicts(old, new, managers, own)
        give(managers, taken)
        return mine

    def reconcile(self, live: Object, managers: Managers) -> Managers:
        """The managers with fields that the present schema has."""
        if not self.may_change:
            return managers
        found: Managers = {}
        for key, managed in managers.items():
            seen = self.view(live, managed.api_version)
            if seen is not None:
                managed = replace(managed, fields=reconciled(seen[1], managed.fields))
                found[key] = managed
        return found


def give(managers: Managers, taken: dict[ManagerKey, FieldSet]) -> None:
    """Take the fields from their managers, in place; managers without any go."""
    for key, fields in taken.items():
        managers[key] = replace(managers[key], fields=difference(managers[key].fields, fields))
    for key in [k for k, managed in managers.items() if not managed.fields]:
        del managers[key]


def zero_object(shape: Shape) -> Object:
    """An object of the kind before anything is said of it."""
    found: dict[str, Any] = shape.zero()
    return found


def _bare(obj: Object) -> Object:
    """The object without the metadata that never has managers."""
    found = dict(obj)
    found["metadata"] = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in UNTRACKED}
    return found
