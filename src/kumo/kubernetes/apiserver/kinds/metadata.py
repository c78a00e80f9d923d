"""The rules of `ObjectMeta`, which hold for every kind (`apimachinery/pkg/api/validation/objectmeta.go`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object

_MOST_TOLD = 10
"""After so many faults of owners, no more of those are told that quote every owner."""
_TWICE = (
    ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may "
    "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}"
)
NameCheck = Callable[[str], list[str]]
ANNOTATIONS_LIMIT = 256 * 1024
STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def validate_metadata(
    obj: Object, namespaced: bool, check_name: NameCheck, *, any_finalizer: bool = False
) -> list[Cause]:
    """What is wrong with the metadata of a new object; `any_finalizer`: also those without a domain are fine."""
    meta = obj.get("metadata") or {}
    found: list[Cause] = []
    generate = meta.get("generateName") or ""
    if generate:
        prefix = generate[:-1] + "a" if len(generate) > 1 and generate.endswith("-") else generate
        found += fields.each("metadata.generateName", generate, check_name(prefix))
    name = meta.get("name") or ""
    if not name:
        found.append(fields.required("metadata.name", "name or generateName is required"))
    else:
        found += fields.each("metadata.name", name, check_name(name))
    found += _namespace(meta.get("namespace") or "", namespaced)
    generation = meta.get("generation") or 0
    if generation < 0:
        found.append(fields.invalid("metadata.generation", generation, "must be greater than or equal to 0"))
    if meta.get("labels"):
        found += validate_labels("metadata.labels", meta["labels"])
    if meta.get("annotations"):
        found += validate_annotations("metadata.annotations", meta["annotations"])
    if meta.get("ownerReferences"):
        found += _owners(meta["ownerReferences"])
    if meta.get("finalizers"):
        found += _finalizers(meta["finalizers"])
        if not any_finalizer:
            found += _known_finalizers(meta["finalizers"])
    return found


def _namespace(namespace: str, namespaced: bool) -> list[Cause]:
    if not namespaced:
        return [fields.forbidden("metadata.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [fields.required("metadata.namespace")]
    return fields.each("metadata.namespace", namespace, names.check_label(namespace))


def validate_labels(path: str, labels: Mapping[str, str] | None) -> list[Cause]:
    """What is wrong with labels."""
    found: list[Cause] = []
    for key, value in (labels or {}).items():
        if wrong := names.check_qualified_name(key):
            found += fields.each(path, key, wrong)
        if wrong := names.check_label_value(value):
            found += fields.each(path, value, wrong)
    return found


def validate_annotations(path: str, annotations: Mapping[str, str] | None) -> list[Cause]:
    """What is wrong with annotations: their keys, and their size together."""
    found: list[Cause] = []
    total = 0
    for key, value in (annotations or {}).items():
        if wrong := names.check_qualified_name(key.lower()):
            found += fields.each(path, key, wrong)
        total += len(key.encode()) + len(value.encode())
    if total > ANNOTATIONS_LIMIT:
        found.append(fields.too_long(path, ANNOTATIONS_LIMIT))
    return found


def _owners(owners: Any) -> list[Cause]:
    found: list[Cause] = []
    controller = ""
    path = "metadata.ownerReferences"
    for owner in owners:
        version, kind, name = (owner.get(key) or "" for key in ("apiVersion", "kind", "name"))
        if not version or version.endswith("/") or version.count("/") > 1:
            found.append(fields.invalid(f"{path}.apiVersion", version, "version must not be empty"))
        for key in ("kind", "name", "uid"):
            if not owner.get(key):
                found.append(fields.invalid(f"{path}.{key}", owner.get(key) or "", "must not be empty"))
        if (version, kind) == ("v1", "Event"):
            found.append(fields.invalid(path, _owner(owner), "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            if controller and len(found) >= _MOST_TOLD:
                break  # Each of these quotes all of them.
            if controller:
                detail = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {kind}/{name}"
                )
                found.append(fields.invalid(path, [_owner(o) for o in owners], detail))
            else:
                controller = f"{kind}/{name}"
    return found


def tell_owners(meta: dict[str, Any], warnings: list[str], *, patched: bool) -> None:
    """Name each owner once, in place; who named one twice is warned, in words that tell patches from other writes."""
    owners = meta.get("ownerReferences")
    if owners is None or len(owners) < 2:
        return
    if len({owner.get("uid") for owner in owners}) == len(owners):
        return  # As nearly always; and there may be a hundred thousand.
    kept: dict[frozenset[tuple[str, Any]], Any] = {}
    twice: list[str] = []
    for owner in owners:
        said = frozenset(owner.items())
        if said in kept:
            twice.append(owner.get("uid") or "")
        else:
            kept[said] = owner
    if twice:
        meta["ownerReferences"] = list(kept.values())
        text = _TWICE.format(" after mutating admission happens" if patched else "", ", ".join(twice))
        warnings += [text] if text not in warnings else []


def _owner(owner: Any) -> dict[str, Any]:
    """An owner reference with its fields in the order of messages."""
    shown = {key: owner.get(key) or "" for key in ("apiVersion", "kind", "name", "uid")}
    return shown | {key: owner[key] for key in ("controller", "blockOwnerDeletion") if owner.get(key) is not None}


def _finalizers(finalizers: Any) -> list[Cause]:
    found: list[Cause] = []
    path = "metadata.finalizers"
    for finalizer in finalizers:
        found += fields.each(path, finalizer, names.check_qualified_name(finalizer))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(fields.invalid(path, list(finalizers), detail))
    return found


def _known_finalizers(finalizers: Any) -> list[Cause]:
    detail = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        fields.invalid(f"metadata.finalizers[{index}]", finalizer, detail)
        for index, finalizer in enumerate(finalizers)
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS
    ]


def validate_metadata_update(new: Object, old: Object) -> list[Cause]:
    """What may not change about an object's metadata, and what of the new state is wrong."""
    fresh, stale = new.get("metadata") or {}, old.get("metadata") or {}
    found: list[Cause] = []
    if stale.get("deletionTimestamp"):
        added = [f for f in fresh.get("finalizers") or () if f not in (stale.get("finalizers") or ())]
        if added:
            listed = ", ".join(f'"{f}"' for f in sorted(added))
            detail = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}"
            )
            found.append(fields.forbidden("metadata.finalizers", detail))
    generation = fresh.get("generation") or 0
    if generation < (stale.get("generation") or 0):
        found.append(fields.invalid("metadata.generation", generation, "must not be decremented"))
    for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if (fresh.get(key) or None) != (stale.get(key) or None):
            found.append(fields.immutable(f"metadata.{key}", fresh.get(key)))
    if fresh.get("labels"):
        found += validate_labels("metadata.labels", fresh["labels"])
    if fresh.get("annotations"):
        found += validate_annotations("metadata.annotations", fresh["annotations"])
    if fresh.get("ownerReferences"):
        found += _owners(fresh["ownerReferences"])
    return found


def validate_finalizers(obj: Object) -> list[Cause]:
    """Finalizers must be of a domain, or Kubernetes' own; what most kinds check at each update."""
    return _known_finalizers((obj.get("metadata") or {}).get("finalizers") or ())
