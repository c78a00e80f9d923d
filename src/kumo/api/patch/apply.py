"""Server-side apply, content type `application/apply-patch+yaml`: many managers, each with its own fields of an object.

`apply` lays one manager's configuration over the live object, gives up what the manager no longer mentions, and refuses
to change what others manage unless forced. `record_update` keeps the books for every other kind of write. Source: KEP
555, `k8s.io/apimachinery/pkg/util/managedfields` and structured-merge-diff.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.patch.field_sets import FieldSet, difference, fields_of, intersection, paths, union, without
from kumo.api.patch.managers import (
    APPLY,
    UPDATE,
    Managed,
    ManagerKey,
    Managers,
    read_managers,
    touched,
    tracked,
    write_managers,
)
from kumo.api.patch.typed import compare, merge, remove
from kumo.api.schema.nodes import Node

BEFORE_FIRST_APPLY = "before-first-apply"


class Conflict(NamedTuple):
    """A field that another manager has, with another value."""

    manager: ManagerKey
    path: str


def apply(
    live: Object | None,
    config: Object,
    root: Node,
    *,
    manager: str,
    force: bool = False,
    subresource: str = "",
    now: str = "",
) -> Object:
    """The object that results when `manager` applies `config`; None as `live` for an object that does not exist.

    `root` is the schema of `config`'s version, in which the live object must be too. `now` is a `metav1.Time`. Raises
    StatusError (409 Conflict, causes FieldManagerConflict) when others manage what would change.
    """
    key = ManagerKey(manager, APPLY, str(config.get("apiVersion") or ""), subresource)
    wanted = tracked(config)
    mine = fields_of(root, wanted)
    if live is None:
        made = {**config, "metadata": dict(config.get("metadata") or {})}
        write_managers(made, {key: touched(None, mine, now)})
        return made
    before, managers = tracked(live), _managers_of(live, root, key)
    merged = merge(root, before, wanted)
    last = managers[key].fields if key in managers else {}
    others = {k: m for k, m in managers.items() if k != key}
    given_up = difference(last, mine)
    for other in others.values():
        given_up = _spare(given_up, other.fields)
    merged = remove(root, merged, given_up)
    changed, removed = compare(root, before, merged)
    conflicts = [
        Conflict(k, path) for k, m in others.items() for path in sorted(paths(intersection(m.fields, changed)))
    ]
    if conflicts and not force:
        raise _refused(conflicts)
    kept: Managers = {}
    for k, other in others.items():
        fields = without(difference(other.fields, changed), removed)
        kept[k] = touched(other, fields, other.time)
    kept[key] = touched(managers.get(key), mine, now)
    return _result(live, merged, kept)


def record_update(
    old: Object | None, new: Object, root: Node, *, manager: str, subresource: str = "", now: str = ""
) -> None:
    """Note in `new` (in place) that `manager` made it of `old` by a create, update or other patch."""
    key = ManagerKey(manager, UPDATE, str(new.get("apiVersion") or ""), subresource)
    after = tracked(new)
    if old is None:
        write_managers(new, {key: touched(None, fields_of(root, after), now)})
        return
    managers = read_managers(old)
    changed, removed = compare(root, tracked(old), after)
    if changed or removed:
        for k, managed in list(managers.items()):
            fields = without(managed.fields if k == key else difference(managed.fields, changed), removed)
            managers[k] = touched(managed, fields, now if k == key else managed.time)
    if changed:
        present = managers.get(key)
        managers[key] = touched(present, union(present.fields if present else {}, changed), now)
    write_managers(new, managers)


def _managers_of(live: Object, root: Node, key: ManagerKey) -> Managers:
    """The managers so far; fields of an object that has none belong to a manager before the first apply."""
    managers = read_managers(live)
    if managers or not tracked(live):
        return managers
    time = str((live.get("metadata") or {}).get("creationTimestamp") or "")
    first = ManagerKey(BEFORE_FIRST_APPLY, UPDATE, key.api_version)
    return {first: Managed(fields_of(root, tracked(live)), time)}


def _spare(given_up: FieldSet, owned: FieldSet) -> FieldSet:
    """What is given up, without all that another manager has, and without every place above such a field."""
    found: FieldSet = {}
    for element, part in given_up.items():
        if element == ".":
            if not owned:
                found["."] = {}
        elif element not in owned:
            found[element] = part
        else:
            rest = _spare(part, owned[element])
            if rest:
                found[element] = rest
    return found


def _result(live: Object, merged: Object, managers: Managers) -> Object:
    """The merged object with the metadata that nobody manages."""
    meta: dict[str, Any] = dict(merged.get("metadata") or {})
    tracked_meta = tracked(live).get("metadata") or {}
    head: dict[str, Any] = {
        k: v for k, v in (live.get("metadata") or {}).items() if k not in tracked_meta and k != "managedFields"
    }
    made: Object = {k: live[k] for k in ("apiVersion", "kind") if k in live}
    made["metadata"] = {**head, **meta}
    made.update({k: v for k, v in merged.items() if k != "metadata"})
    write_managers(made, managers)
    return made


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
