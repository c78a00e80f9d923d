"""Managers of `spec.replicas` as the scale subresource sees them, and back.

A write through `scale` is a write of another kind (autoscaling/v1 Scale), whose one field stands for a field of the
object. Source: `apimachinery/pkg/util/managedfields/scalehandler.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kumo.api.objects import Object
from kumo.api.patch.field_sets import at_path, difference, has
from kumo.api.patch.managers import Managed, Managers, read_managers, write_managers
from kumo.api.patch.typed import elements_of

SCALE_VERSION = "autoscaling/v1"
_IN_SCALE = at_path(elements_of("spec.replicas"))
PathOf = Callable[[str], str]
"""The dotted path of the replicas in a version of the object (`apps/v1`); empty for a version that is not known."""


def to_scale(entries: Sequence[Object] | None, path_of: PathOf) -> list[Object]:
    """The `managedFields` of the Scale: of those who manage the object's replicas."""
    found: Managers = {}
    for key, managed in read_managers(entries).items():
        path = path_of(managed.api_version)
        if path and has(managed.fields, elements_of(path)):
            version = SCALE_VERSION if key.api_version else ""
            found[key._replace(api_version=version)] = Managed(_IN_SCALE, SCALE_VERSION, managed.time)
    return write_managers(found)


def to_parent(
    entries: Sequence[Object] | None, scaled: Sequence[Object], path_of: PathOf, api_version: str
) -> list[Object]:
    """The object's `managedFields` after a write of its Scale left `scaled` there; the object is of `api_version`."""
    before = read_managers(entries)
    after = read_managers(scaled)
    found: Managers = {}
    for key, managed in before.items():
        path = path_of(managed.api_version)
        if not path:
            continue
        twin = key._replace(api_version=SCALE_VERSION if key.api_version else "")
        if has(managed.fields, elements_of(path)):
            # Upstream knows a subresource's manager again only by the version of his last write: he is booked anew.
            if twin in after and not (key.api_version and key.subresource):
                del after[twin]
            else:
                managed = Managed(
                    difference(managed.fields, at_path(elements_of(path))), managed.api_version, managed.time
                )
        if managed.fields:
            found[key] = managed
    for key, managed in after.items():
        if has(managed.fields, elements_of("spec.replicas")):
            own = key._replace(api_version=api_version if key.api_version else "")
            time = before[own].time if own in before else ""
            found[own] = Managed(at_path(elements_of(path_of(api_version))), api_version, time)
    return write_managers(found)
