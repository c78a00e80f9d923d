"""Who manages which fields: `metadata.managedFields`, read and written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kumo.api.objects import Object, timestamp
from kumo.api.patch.field_sets import FieldSet, read, write

APPLY, UPDATE = "Apply", "Update"
_UNTRACKED = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


class ManagerKey(NamedTuple):
    """What tells managers apart."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        shown = f'"{self.name}"'
        if self.subresource:
            shown += f' with subresource "{self.subresource}"'
        return f"{shown} using {self.api_version}" if self.operation == UPDATE else shown


@dataclass(frozen=True, slots=True)
class Managed:
    """One manager's fields, and since when."""

    fields: FieldSet
    time: str = ""


Managers = dict[ManagerKey, Managed]


def tracked(obj: Object) -> Object:
    """The part of an object whose fields have managers."""
    found = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")}
    meta = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _UNTRACKED}
    return {**found, "metadata": meta} if meta else found


def read_managers(obj: Object) -> Managers:
    """The managers of an object."""
    found: Managers = {}
    for entry in (obj.get("metadata") or {}).get("managedFields") or ():
        key = ManagerKey(
            entry.get("manager") or "",
            entry.get("operation") or UPDATE,
            entry.get("apiVersion") or "",
            entry.get("subresource") or "",
        )
        found[key] = Managed(read(entry.get("fieldsV1") or {}), entry.get("time") or "")
    return found


def write_managers(obj: Object, managers: Managers) -> None:
    """Set the object's `managedFields`; managers without fields are left out."""
    entries = []
    for key, managed in managers.items():
        if managed.fields:
            entry: dict[str, Any] = {
                "manager": key.name,
                "operation": key.operation,
                "apiVersion": key.api_version,
                "time": managed.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": write(managed.fields),
            }
            if key.subresource:
                entry["subresource"] = key.subresource
            entries.append(entry)
    entries.sort(key=lambda e: (e["operation"], e["time"], e["manager"], e["apiVersion"]))
    meta = obj.setdefault("metadata", {})
    meta.pop("managedFields", None)
    if entries:
        meta["managedFields"] = entries


def touched(managed: Managed | None, fields: FieldSet, now: str = "") -> Managed:
    """The manager with other fields; its time moves only if they differ."""
    if managed is not None and managed.fields == fields and managed.time:
        return managed
    return replace(managed or Managed({}), fields=fields, time=now or timestamp())
