"""What bound and unbound claims and volumes look like. Pure: objects in, new objects out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object, annotations_of, name_of
from kumo.api.volume_claims import BIND_COMPLETED, BOUND_BY_CONTROLLER, volume_name
from kumo.api.volume_migration import driver_of, with_migration

PROVISIONER = "volume.kubernetes.io/storage-provisioner"
OLD_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
OWN_FINALIZER = "kubernetes.io/pv-controller"
EXTERNAL_FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
SIZE_BEFORE_RESIZE = "volume.alpha.kubernetes.io/pre-resize-capacity"
"""On a volume: the size that its file system still has, while it is being grown."""


def migrated_claim(claim: Object) -> Object:
    """The claim with the driver that its provisioner has become; equal to the old one if nothing is to be said."""
    annotations = annotations_of(claim)
    provisioner = annotations.get(PROVISIONER) or annotations.get(OLD_PROVISIONER)
    if not provisioner or with_migration(annotations, provisioner) == annotations:
        return claim
    wanted = deepcopy(claim)
    wanted["metadata"]["annotations"] = with_migration(annotations, provisioner)
    return wanted


def migrated_volume(volume: Object) -> Object:
    """The volume with the driver that its provisioner has become, and with the finalizer of whoever deletes it."""
    annotations = annotations_of(volume)
    provisioner = annotations.get(PROVISIONED_BY)
    if provisioner is None:
        return volume
    wanted = deepcopy(volume)
    wanted["metadata"]["annotations"] = with_migration(annotations, provisioner)
    finalizers = _finalizers(volume, provisioner)
    if finalizers != list(volume["metadata"].get("finalizers") or ()):
        wanted["metadata"]["finalizers"] = finalizers
    return wanted


def _finalizers(volume: Object, provisioner: str) -> list[str]:
    """A volume that this controller would delete itself is held by it; such volumes other clusters have left."""
    found = list(volume["metadata"].get("finalizers") or ())
    if driver_of(provisioner):
        return [f for f in found if f != OWN_FINALIZER]
    if not provisioner.startswith("kubernetes.io/"):
        return found
    found = [f for f in found if f != EXTERNAL_FINALIZER]
    policy = (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy")
    if policy == "Delete":
        return found if OWN_FINALIZER in found else [*found, OWN_FINALIZER]
    return [f for f in found if f != OWN_FINALIZER]


def unbound_volume(volume: Object) -> Object:
    """The volume free again: nobody's if the controller bound it, else reserved for the claim that the user named."""
    wanted = deepcopy(volume)
    annotations = annotations_of(wanted)
    if BOUND_BY_CONTROLLER in annotations:
        wanted["spec"].pop("claimRef", None)
        left = {k: v for k, v in annotations.items() if k != BOUND_BY_CONTROLLER}
        wanted["metadata"]["annotations"] = left
        if not left:
            del wanted["metadata"]["annotations"]
    else:
        wanted["spec"]["claimRef"].pop("uid", None)
    return wanted


def volume_in_phase(volume: Object, phase: str, message: str = "") -> Object:
    """The volume in a phase; equal to the old one if it is in it, whatever its message."""
    status = dict(volume.get("status") or {})
    if status.get("phase") == phase:
        return volume
    status["phase"] = phase
    status.pop("message", None)
    if message:
        status["message"] = message
    return {**volume, "status": status}


def bound_claim(claim: Object, volume: Object) -> Object:
    """The claim with its side of the binding; equal to the old one if that is there already."""
    wanted = deepcopy(claim)
    if volume_name(claim) != name_of(volume):
        wanted["spec"]["volumeName"] = name_of(volume)
        _annotate(wanted, BOUND_BY_CONTROLLER, "yes", keep=True)
    _annotate(wanted, BIND_COMPLETED, "yes", keep=True)
    return wanted


def claim_with_status(claim: Object, phase: str, volume: Object | None = None) -> Object:
    """The claim in a phase, with what its volume gives; equal to the old one if its status says so.

    The capacity and the attributes class are taken over when the claim becomes bound and are the resizer's afterwards.
    """
    old = claim.get("status") or {}
    status: dict[str, Any] = {**old, "phase": phase}
    if volume is None:
        for name in ("accessModes", "capacity", "currentVolumeAttributesClassName"):
            status.pop(name, None)
        return {**claim, "status": status}
    spec = volume.get("spec") or {}
    status["accessModes"] = list(spec.get("accessModes") or ())
    if old.get("phase") != phase:
        status["capacity"] = _capacity(old.get("capacity") or {}, volume)
    if old.get("phase") == "Pending" and phase == "Bound":
        status.pop("currentVolumeAttributesClassName", None)
        if spec.get("volumeAttributesClassName"):
            status["currentVolumeAttributesClassName"] = spec["volumeAttributesClassName"]
    return {**claim, "status": status}


def _capacity(old: dict[str, Any], volume: Object) -> dict[str, Any]:
    offered = dict((volume.get("spec") or {}).get("capacity") or {})
    before = annotations_of(volume).get(SIZE_BEFORE_RESIZE)
    if before is not None:
        try:
            quantities.parse(before)
        except ValueError:
            before = offered.get("storage")
        return {**old, "storage": before}
    if "storage" in old and quantities.parse(old["storage"]) == quantities.parse(offered.get("storage") or 0):
        return old
    return offered


def claim_of_class(claim: Object, name: str) -> Object:
    """The claim with a storage class that it did not ask for."""
    wanted = deepcopy(claim)
    wanted["spec"]["storageClassName"] = name
    return wanted


def claim_for_provisioner(claim: Object, provisioner: str) -> Object:
    """The claim handed to a provisioner; equal to the old one if it has it."""
    wanted = deepcopy(claim)
    if annotations_of(claim).get(PROVISIONER) != provisioner:
        _annotate(wanted, OLD_PROVISIONER, provisioner)
        _annotate(wanted, PROVISIONER, provisioner)
    return wanted


def _annotate(obj: Object, name: str, value: str, *, keep: bool = False) -> None:
    annotations = dict(annotations_of(obj))
    if not (keep and name in annotations):
        annotations[name] = value
    obj["metadata"]["annotations"] = annotations
