"""Making a Table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

from kumo.api.objects import Object
from kumo.api.resources import ResourceType
from kumo.kubernetes.apiserver.tables import access, cluster, network, pods, storage, workloads
from kumo.kubernetes.apiserver.tables.columns import Columns, column
from kumo.kubernetes.apiserver.tables.custom import custom_columns
from kumo.kubernetes.apiserver.tables.descriptions import described

IncludeObject = Literal["Metadata", "Object", "None"]


@cache
def _known() -> dict[str, Columns]:
    found: dict[str, Columns] = {}
    for module in (pods, workloads, network, storage, cluster, access):
        found |= module.tables()
    return described(found)


def _default_cells(obj: Object, now: float) -> list[Any]:
    """Name and creation time: what upstream shows of kinds that it has no columns for."""
    meta = obj["metadata"]
    return [meta.get("name") or "", meta.get("creationTimestamp")]


@cache
def _unknown() -> Columns:
    """The columns of kinds without any."""
    known = Columns((column("Name"), column("Created At", "date")), _default_cells)
    name, created = described({"": known})[""].definitions
    age = described({"": Columns((column("Age"),), _default_cells)})[""].definitions[0]["description"]
    return Columns((name, {**created, "description": age}), _default_cells)


def columns_of(resource: ResourceType, additional: Sequence[Mapping[str, Any]] | None = None) -> Columns:
    """The columns of a resource; `additional` are a custom kind's own (an empty sequence if it has none)."""
    if additional is not None:
        found = custom_columns(additional)
        return replace(found, definitions=(_unknown().definitions[0], *found.definitions[1:]))
    known = _known().get(resource.gvr.group_resource)
    if known is not None:
        return known
    return _unknown()


def table(
    resource: ResourceType,
    objects: Iterable[Object],
    columns: Sequence[Mapping[str, Any]] | None = None,
    *,
    now: float | None = None,
    include_object: IncludeObject = "Metadata",
    metadata: Mapping[str, Any] | None = None,
    with_definitions: bool = True,
) -> Object:
    """A `meta.k8s.io/v1` Table of the objects.

    `columns`: a custom kind's `additionalPrinterColumns`, None for a built-in kind. `now`: seconds since the epoch.
    `include_object`: what each row carries of its object. `metadata`: the list's (resourceVersion, continue).
    `with_definitions` is off in a watch's events after the first.
    """
    found = columns_of(resource, columns)
    moment = time.time() if now is None else now
    rows = [row(found, obj, moment, include_object) for obj in objects]
    definitions = list(found.definitions) if with_definitions else []
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": dict(metadata or {}),
        "columnDefinitions": definitions,
        "rows": rows,
    }


def row(columns: Columns, obj: Object, now: float, include: IncludeObject) -> dict[str, Any]:
    """The row of one object."""
    found: dict[str, Any] = {"cells": columns.cells(obj, now)}
    conditions = columns.conditions(obj)
    if conditions:
        found["conditions"] = conditions
    if include == "None":
        found["object"] = None
    elif include == "Object":
        found["object"] = obj
    elif include == "Metadata":
        found["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
    return found
