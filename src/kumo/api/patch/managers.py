"""Who manages which fields: `metadata.managedFields`, read and written.

Source: `k8s.io/apimachinery/pkg/util/managedfields/internal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kumo.api.objects import Object, parse_timestamp
from kumo.api.patch.field_sets import FieldSet, checked, difference, union

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10
"""How many managers of updates are kept apart; the oldest of more are put together."""
ANCIENT = "ancient-changes"
UNTRACKED = frozenset(
    (
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    )
)
"""Metadata that never has managers."""
STRIPPED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{f"f:{name}": {} for name in sorted(UNTRACKED)}},
}
"""Fields that never have managers."""


class ManagerKey(NamedTuple):
    """What tells managers apart. `api_version` is empty for applies: a manager applies in one version at a time."""

    name: str
    operation: str
    api_version: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        shown = f'"{self.name}"'
        if self.subresource:
            shown += f' with subresource "{self.subresource}"'
        return f"{shown} using {self.api_version}" if self.operation == UPDATE else shown


def manager_key(name: str, operation: str, api_version: str, subresource: str = "") -> ManagerKey:
    """The key of a manager."""
    return ManagerKey(name, operation, "" if operation == APPLY else api_version, subresource)


@dataclass(frozen=True, slots=True)
class Managed:
    """One manager's fields, in which version they are said, and since when (empty: not known)."""

    fields: FieldSet
    api_version: str
    time: str = ""


Managers = dict[ManagerKey, Managed]


def read_managers(entries: Sequence[Object] | None, *, check: bool = False) -> Managers:
    """The managers of an object's `managedFields`; with `check`, of those that a client wrote.

    Raises ValueError for entries that can't be read.
    """
    found: Managers = {}
    for index, entry in enumerate(entries or ()):
        operation, version = entry.get("operation") or "", entry.get("apiVersion") or ""
        fields = entry.get("fieldsV1") or {}
        if check:
            if operation not in (APPLY, UPDATE):
                raise ValueError("operation must be `Apply` or `Update`")
            if not version:
                raise ValueError("apiVersion must not be empty")
            if entry.get("fieldsType") != "FieldsV1":
                kind = entry.get("fieldsType")
                what = f'invalid fieldsType "{kind}"' if kind else "missing fieldsType"
                raise ValueError(f"{what} in managed fields entry {index}")
            fields = checked(fields)
        key = manager_key(entry.get("manager") or "", operation, version, entry.get("subresource") or "")
        found[key] = Managed(fields, version, entry.get("time") or "")
    return found


def write_managers(managers: Managers) -> list[Object]:
    """The `managedFields` of the managers, in upstream's order; those without fields are left out."""
    entries = []
    for key, managed in managers.items():
        if managed.fields:
            entry: dict[str, Any] = {"manager": key.name} if key.name else {}
            entry |= {"operation": key.operation, "apiVersion": managed.api_version}
            if managed.time:
                entry["time"] = managed.time
            entry |= {"fieldsType": "FieldsV1", "fieldsV1": managed.fields}
            if key.subresource:
                entry["subresource"] = key.subresource
            entries.append(entry)
    if len(entries) > 1:
        entries.sort(
            key=lambda e: (
                e["operation"],
                _seconds(e.get("time", "")),
                e.get("manager", ""),
                e["apiVersion"],
                e.get("subresource", ""),
            )
        )
    return entries


def _seconds(time: str) -> float:
    return parse_timestamp(time) if time else 0.0


def is_reset(entries: Any) -> bool:
    """Whether the `managedFields` of a write say that there be none: an empty list, or one empty entry."""
    return entries is not None and (not entries or (len(entries) == 1 and not any(entries[0].values())))


def stated_managers(stated: list[Object] | None, live: list[Object] | None) -> Managers:
    """The managers that a write begins with: those it states if they can be read, else those of the live object."""
    if stated is not None and stated is not live and stated != live:
        if is_reset(stated):
            return {}
        try:
            found = read_managers(stated, check=True)
        except ValueError:
            found = {}
        if found:
            return found
    return read_managers(live)


def strip(fields: FieldSet) -> FieldSet:
    """The set without the fields that never have managers."""
    if "f:metadata" in fields or "f:apiVersion" in fields or "f:kind" in fields:
        return difference(fields, STRIPPED)
    return fields


def cap_updaters(managers: Managers) -> None:
    """Put the oldest updaters together when there are more than `MAX_UPDATERS`; in place."""
    updaters = [key for key in managers if key.operation == UPDATE]
    if len(updaters) <= MAX_UPDATERS:
        return
    updaters.sort(key=lambda k: (_seconds(managers[k].time), _identifier(k)))
    left, first = len(updaters), dict[str, ManagerKey]()
    for key in updaters:
        if left <= MAX_UPDATERS:
            return
        managed = managers[key]
        version = managed.api_version
        bucket = ManagerKey(ANCIENT, UPDATE, version)
        if version not in first:
            first[version] = key
            continue
        if bucket not in managers:
            managers[bucket] = managers.pop(first[version])
        managers[bucket] = replace(managed, fields=union(managed.fields, managers[bucket].fields))
        if key != bucket:
            del managers[key]
        left -= 1


def _identifier(key: ManagerKey) -> str:
    """What upstream sorts managers of one age by: their JSON."""
    parts = [f'"manager":"{key.name}"', f'"operation":"{key.operation}"', f'"apiVersion":"{key.api_version}"']
    if key.subresource:
        parts.append(f'"subresource":"{key.subresource}"')
    return "{" + ",".join(parts) + "}"
