"""Which PersistentVolume a PersistentVolumeClaim may have: asked by the controller that binds and by the scheduler.

Pure; the facts are those of core/v1 and storage.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from fractions import Fraction

from kumo.api import quantities, selectors
from kumo.api.objects import (
    Object,
    annotations_of,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    parse_timestamp,
    uid_of,
)

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
"""On a claim: it was bound once; without a volume from then on it is lost."""
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
"""On a claim or a volume: the binding was not the user's wish and may be undone."""
SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def class_of(obj: Object) -> str:
    """The storage class that a claim or a volume names; empty for none. The old annotation outranks the field."""
    annotations = annotations_of(obj)
    if _OLD_CLASS in annotations:
        return annotations[_OLD_CLASS]
    return (obj.get("spec") or {}).get("storageClassName") or ""


def has_class(claim: Object) -> bool:
    """Whether the claim says something about its class, be it that it wants none (`""`)."""
    return _OLD_CLASS in annotations_of(claim) or (claim.get("spec") or {}).get("storageClassName") is not None


def default_class(classes: Iterable[Object]) -> Object | None:
    """The newest class that is marked as the default one; of equally new ones the first by name."""
    marked = [c for c in classes if any(annotations_of(c).get(a) == "true" for a in _DEFAULT_CLASS)]
    return min(marked, key=lambda c: (-parse_timestamp(c["metadata"]["creationTimestamp"]), name_of(c)), default=None)


def is_delayed(storage_class: Object | None) -> bool:
    """Whether claims of the class wait for a pod that wants them."""
    return (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def volume_name(claim: Object) -> str:
    """The volume that the claim is bound to or asks for; empty for none."""
    return (claim.get("spec") or {}).get("volumeName") or ""


def is_fully_bound(claim: Object) -> bool:
    """Whether nothing is left to do for the claim's binding."""
    return bool(volume_name(claim)) and BIND_COMPLETED in annotations_of(claim)


def is_bound_to(volume: Object, claim: Object) -> bool:
    """Whether the volume is meant for this claim; a `claimRef` without a uid speaks of whoever has the name."""
    ref = (volume.get("spec") or {}).get("claimRef")
    if not ref or ref.get("name") != name_of(claim) or (ref.get("namespace") or "") != namespace_of(claim):
        return False
    return not ref.get("uid") or ref["uid"] == uid_of(claim)


def bound_volume(volume: Object, claim: Object) -> Object:
    """The volume with its side of the binding; equal to the old one if that is there already."""
    ref = (volume.get("spec") or {}).get("claimRef") or {}
    identity = (name_of(claim), namespace_of(claim), uid_of(claim))
    wanted = deepcopy(volume)
    if (ref.get("name"), ref.get("namespace"), ref.get("uid")) != identity:
        wanted["spec"]["claimRef"] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"} | {
            name: claim["metadata"].get(name, "") for name in ("name", "namespace", "uid", "resourceVersion")
        }
    if not is_bound_to(volume, claim):
        wanted["metadata"]["annotations"] = {BOUND_BY_CONTROLLER: "yes"} | annotations_of(volume)
    return wanted


def same_mode(volume: Object, claim: Object) -> bool:
    """Whether both are file systems or both block devices."""
    mine = (claim.get("spec") or {}).get("volumeMode") or "Filesystem"
    return bool(mine == ((volume.get("spec") or {}).get("volumeMode") or "Filesystem"))


def covers_access(volume: Object, claim: Object) -> bool:
    """Whether the volume has every access mode that the claim wants."""
    return set((claim.get("spec") or {}).get("accessModes") or ()) <= access_modes(volume)


def access_modes(volume: Object) -> frozenset[str]:
    """The access modes of a volume."""
    return frozenset((volume.get("spec") or {}).get("accessModes") or ())


def capacity(volume: Object) -> Fraction:
    """The bytes that the volume offers."""
    return quantities.parse(((volume.get("spec") or {}).get("capacity") or {}).get("storage") or 0)


def wanted(claim: Object) -> Fraction:
    """The bytes that the claim asks for."""
    resources = (claim.get("spec") or {}).get("resources") or {}
    return quantities.parse((resources.get("requests") or {}).get("storage") or 0)


def mismatch(volume: Object, claim: Object) -> str:
    """Why the claim can't have the volume that it asks for by name; empty if it can."""
    if is_deleting(volume):
        return f'the volume is marked for deletion "{name_of(volume)}"'
    if capacity(volume) < wanted(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if _attributes(volume) != _attributes(claim):
        return "volumeAttributesClassName does not match"
    if not same_mode(volume, claim):
        return "incompatible volumeMode"
    return "" if covers_access(volume, claim) else "incompatible accessMode"


def _attributes(obj: Object) -> str:
    return (obj.get("spec") or {}).get("volumeAttributesClassName") or ""


def on_node(volume: Object, name: str, labels: Mapping[str, str]) -> bool:
    """Whether the volume's node affinity lets it be used on the node."""
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    if required is None:
        return True
    fields = {"metadata.name": name}
    return any(selectors.matches_node_term(t, labels, fields) for t in required.get("nodeSelectorTerms") or ())


def best_match(claim: Object, volumes: Iterable[Object], *, delayed: bool = False) -> Object | None:
    """The volume to bind the claim to without regard of nodes, or None.

    Volumes with the fewest access modes come first; among them one that is meant for the claim, then the smallest.
    A delayed claim gets no others than those meant for it.
    """
    possible = [v for v in volumes if covers_access(v, claim) and _is_possible(v, claim)]
    for modes in sorted({access_modes(v) for v in possible}, key=lambda m: (len(m), sorted(m))):
        same = [v for v in possible if access_modes(v) == modes]
        meant = [v for v in same if is_bound_to(v, claim)]
        if meant:
            return meant[0]
        found = None if delayed else _smallest(claim, same)
        if found is not None:
            return found
    return None


def match_on_node(
    claim: Object, volumes: Iterable[Object], node: str, labels: Mapping[str, str], taken: Collection[str] = ()
) -> Object | None:
    """The volume that a delayed claim gets when its pod runs on the node, or None; `taken` names what is promised."""
    possible = [v for v in volumes if name_of(v) not in taken and _is_possible(v, claim)]
    meant = [v for v in possible if is_bound_to(v, claim)]
    if meant:
        return meant[0] if on_node(meant[0], node, labels) else None
    return _smallest(claim, [v for v in possible if covers_access(v, claim) and on_node(v, node, labels)])


def _is_possible(volume: Object, claim: Object) -> bool:
    """What even a volume that is meant for the claim must satisfy."""
    if (volume.get("spec") or {}).get("claimRef") and not is_bound_to(volume, claim):
        return False
    fits = capacity(volume) >= wanted(claim) and same_mode(volume, claim)
    return fits and _attributes(volume) == _attributes(claim) and not is_deleting(volume)


def _smallest(claim: Object, volumes: Iterable[Object]) -> Object | None:
    selector = (claim.get("spec") or {}).get("selector")
    found = [
        v
        for v in volumes
        if (v.get("status") or {}).get("phase") == "Available"
        and class_of(v) == class_of(claim)
        and (selector is None or selectors.matches(selector, labels_of(v)))
    ]
    return min(found, key=lambda v: (capacity(v), name_of(v)), default=None)
