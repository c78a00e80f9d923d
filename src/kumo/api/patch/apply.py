"""Server-side apply, content type `application/apply-patch+yaml`: many managers, each with its own fields of an object.

`apply` lays one manager's configuration over the live object, gives up what the manager no longer mentions, and refuses
to change what others manage unless forced. Source: KEP 555, `apimachinery/pkg/util/managedfields`,
`structured-merge-diff/merge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from kumo.api.errors import StatusError
from kumo.api.objects import Object, timestamp
from kumo.api.patch.configuration import check
from kumo.api.patch.field_sets import FieldSet, difference, has, intersection, paths, union, without
from kumo.api.patch.managers import APPLY, UPDATE, Managed, ManagerKey, Managers, manager_key, read_managers, strip
from kumo.api.patch.managers import write_managers as _written
from kumo.api.patch.tracking import Tracker, give, zero_object
from kumo.api.patch.typed import fields_of, merge, named_fields, remove

BEFORE_FIRST_APPLY = "before-first-apply"
KUBECTL = "kubectl"
"""The manager whose applies take over what `kubectl apply` has managed from the client's side."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Conflict(NamedTuple):
    """A field that another manager has, with another value."""

    manager: ManagerKey
    path: str


class Conflicts(Exception):
    """What an apply would take from other managers, as sets."""

    def __init__(self, taken: dict[ManagerKey, FieldSet]) -> None:
        super().__init__("conflicts")
        self.taken = taken


@dataclass(frozen=True, slots=True)
class Applied:
    """What comes of an apply: the object (without managedFields), and the managedFields to give it."""

    object: Object
    managed_fields: list[Object]


def apply(
    tracker: Tracker, live: Object | None, config: Object, manager: str, *, force: bool = False, now: str = ""
) -> Applied:
    """The object that results when `manager` applies `config`; None as `live` for an object that does not exist.

    Raises StatusError (409 Conflict, causes FieldManagerConflict) when others manage what would change; TypedError for
    a configuration that doesn't fit the schema.
    """
    check(tracker.shape, config)
    if live is None:
        managers: Managers = {}
        live = {**zero_object(tracker.shape), **{k: config[k] for k in ("apiVersion", "kind") if k in config}}
    else:
        managers = read_managers((live.get("metadata") or {}).get("managedFields"))
        live = _bare(live)
        if not managers:
            managers = _first_managers(tracker, live, now)
    step = _Step(tracker, live, config, manager_key(manager, APPLY, tracker.api_version, tracker.subresource), now)
    try:
        found = step.run(dict(managers), force)
    except Conflicts as conflicts:
        if manager != KUBECTL:
            raise refusal(conflicts.taken) from None
        allowed = last_applied_fields(tracker, live)
        left = {k: difference(f, allowed) for k, f in conflicts.taken.items()} if allowed is not None else {}
        if allowed is None:
            raise refusal(conflicts.taken) from None
        if any(left.values()):
            raise refusal({k: f for k, f in left.items() if f}) from None
        found = step.run(dict(managers), True)
    if manager == KUBECTL:
        _sync_last_applied(found.object, config)
    return found


def _bare(obj: Object) -> Object:
    meta = {k: v for k, v in (obj.get("metadata") or {}).items() if k != "managedFields"}
    return {**obj, "metadata": meta}


def _first_managers(tracker: Tracker, live: Object, now: str) -> Managers:
    """An object that has no managers yet belongs to one, before the first apply."""
    fields = strip(tracker.compare(zero_object(tracker.shape), live).changed)
    if not fields:
        return {}
    key = ManagerKey(BEFORE_FIRST_APPLY, UPDATE, tracker.api_version, tracker.subresource)
    return {key: Managed(fields, tracker.api_version, now or timestamp())}


@dataclass(frozen=True, slots=True)
class _Step:
    tracker: Tracker
    live: Object
    config: Object
    key: ManagerKey
    now: str

    def run(self, managers: Managers, force: bool) -> Applied:
        """Merge, prune, and share out the fields anew. Raises Conflicts."""
        tracker, live = self.tracker, self.live
        managers = tracker.reconcile(live, managers)
        merged = merge(tracker.shape, live, self.config)
        last = managers.get(self.key)
        mine = without(fields_of(tracker.shape, self.config) or {}, tracker.reset)
        managers[self.key] = Managed(mine, tracker.api_version, last.time if last is not None else "")
        if last is not None and last.fields:
            merged = self._prune(merged, managers, last)
        _, taken = tracker.conflicts(live, merged, managers, self.key)
        if taken and not force:
            raise Conflicts(taken)
        give(managers, taken)
        same = merged == live
        if self.key in managers:
            kept = strip(managers[self.key].fields)
            time = managers[self.key].time if same else (self.now or timestamp())
            if kept:
                managers[self.key] = Managed(kept, tracker.api_version, time)
            else:
                del managers[self.key]
        return Applied(live if same else merged, _written(managers))

    def _prune(self, merged: Object, managers: Managers, last: Managed) -> Object:
        """The merged object without what the manager applied last and nobody wants any more."""
        tracker = self.tracker
        if last.api_version == tracker.api_version:
            mine = managers[self.key].fields
            if last.fields == strip(mine) or not difference(
                named_fields(tracker.shape, last.fields), named_fields(tracker.shape, mine)
            ):
                return merged
            return self._pruned_in(merged, managers, last)
        seen = tracker.view(merged, last.api_version)
        if seen is None:
            return merged
        pruned = self._pruned_in(seen[0], managers, last)
        back = tracker.view({**pruned, "apiVersion": last.api_version}, tracker.api_version)
        return back[0] if back is not None else merged

    def _pruned_in(self, merged: Object, managers: Managers, last: Managed) -> Object:
        """Prune an object in the version of `last`."""
        tracker = self.tracker
        version = last.api_version
        shape = tracker.shape
        if version != tracker.api_version:
            seen = tracker.view(merged, version)
            shape = seen[1] if seen is not None else shape
        was = named_fields(shape, last.fields)
        pruned = remove(shape, merged, was)
        wanted: dict[str, FieldSet] = {version: {}}
        for managed in managers.values():
            wanted[managed.api_version] = union(wanted.get(managed.api_version, {}), managed.fields)
        for other, fields in wanted.items():
            pruned = self._add_back(merged, pruned, version, other, fields)
        all_ = named_fields(shape, fields_of(shape, merged) or {})
        left = named_fields(shape, fields_of(shape, pruned) or {})
        gone = intersection(difference(all_, left), was)
        found: Object = remove(shape, merged, gone) if gone else merged
        return found

    def _add_back(self, merged: Object, pruned: Object, version: str, other: str, fields: FieldSet) -> Object:
        """The pruned object with what somebody manages in the version `other`."""
        tracker = self.tracker
        shape = tracker.shape
        if not (version == other == tracker.api_version):
            whole, cut = tracker.view(merged, other), tracker.view(pruned, other)
            if whole is None or cut is None:
                return pruned
            merged, pruned, shape = whole[0], cut[0], whole[1]
        all_ = named_fields(shape, fields_of(shape, merged) or {})
        left = named_fields(shape, fields_of(shape, pruned) or {})
        gone = difference(all_, union(left, named_fields(shape, fields)))
        found: Object = remove(shape, merged, gone) if gone else merged
        if other != version:
            back = tracker.view(found, version)
            return back[0] if back is not None else pruned
        return found


# -- kubectl's own bookkeeping ------------------------------------------------------------------------------------


def last_applied_fields(tracker: Tracker, live: Object) -> FieldSet | None:
    """The fields of `kubectl apply`'s annotation whose values are still the live ones; None without a usable one."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        stated = msgspec.json.decode(text or "")
    except msgspec.DecodeError:
        return None
    if not isinstance(stated, dict) or stated.get("apiVersion") != tracker.api_version:
        return None
    fields = fields_of(tracker.shape, stated) or {}
    change = tracker.compare(stated, live)
    return difference(difference(fields, change.changed), change.removed)


def _sync_last_applied(obj: Object, config: Object) -> None:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return
    meta: dict[str, Any] = dict(config.get("metadata") or {})
    stated = {k: v for k, v in (meta.get("annotations") or {}).items() if k != LAST_APPLIED}
    if "annotations" in meta:
        meta["annotations"] = stated
    if not stated:
        meta.pop("annotations", None)
    text = msgspec.json.encode({**config, "metadata": meta}, order="sorted").decode() + "\n"
    obj["metadata"] = {**obj["metadata"], "annotations": {**annotations, LAST_APPLIED: text}}


def refusal(taken: dict[ManagerKey, FieldSet]) -> StatusError:
    """409: others manage the fields."""
    conflicts = [Conflict(key, path) for key in sorted(taken) for path in paths(taken[key])]
    return _refused(conflicts)


def _refused(conflicts: Sequence[Conflict]) -> StatusError:
    if len(conflicts) == 1:
        text = f"Apply failed with 1 conflict: conflict with {conflicts[0].manager}: {conflicts[0].path}"
    else:
        lines = []
        for manager in sorted({c.manager for c in conflicts}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {c.path}" for c in conflicts if c.manager == manager]
        text = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {c.manager}", "field": c.path} for c in conflicts
    ]
    return StatusError(409, "Conflict", text, {"causes": causes})


__all__ = ["APPLY", "Applied", "Conflict", "apply", "has", "last_applied_fields", "refusal"]
