"""What is to be done for a claim. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kumo.api.objects import Object, annotations_of, name_of, uid_of
from kumo.api.volume_claims import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    SELECTED_NODE,
    best_match,
    class_of,
    has_class,
    is_bound_to,
    is_delayed,
    mismatch,
    volume_name,
)
from kumo.api.volume_migration import driver_of
from kumo.machinery.events import NORMAL, WARNING

Event = tuple[str, str, str]
"""Type, reason and message."""
NO_VOLUME = "no persistent volumes available for this claim and no storage class is set"


@dataclass(frozen=True, slots=True)
class ClaimWorld:
    """What a claim's fate depends on: the volume that it names, those that it may get, its class, the default one.

    `waiting` are the names of the pods that use the claim and have no node yet.
    """

    named: Object | None = None
    candidates: Sequence[Object] = ()
    storage_class: Object | None = None
    default: Object | None = None
    waiting: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ClaimPlan:
    """One of: bind to `volume`; take the class `storage_class`; hand over to `provisioner`; be in `phase`.

    Of the events, `lost` is told when the phase changes, `event` every time.
    """

    volume: Object | None = None
    storage_class: str = ""
    provisioner: str = ""
    phase: str = ""
    event: Event | None = None
    lost: Event | None = None


def decide(claim: Object, world: ClaimWorld) -> ClaimPlan:
    """The plan for a claim, new or bound before."""
    if BIND_COMPLETED in annotations_of(claim):
        return _once_bound(claim, world)
    if volume_name(claim):
        return _asking_for(claim, world.named)
    return _unbound(claim, world)


def _once_bound(claim: Object, world: ClaimWorld) -> ClaimPlan:
    if not volume_name(claim):
        return _lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
    volume = world.named
    if volume is None:
        return _lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
    ref = (volume.get("spec") or {}).get("claimRef")
    if ref and ref.get("uid") != uid_of(claim):
        return _lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
    return ClaimPlan(volume=volume)


def _lost(reason: str, message: str) -> ClaimPlan:
    return ClaimPlan(phase="Lost", lost=(WARNING, reason, message))


def _asking_for(claim: Object, volume: Object | None) -> ClaimPlan:
    """The user wants this volume and no other."""
    if volume is None:
        return ClaimPlan(phase="Pending")
    if not (volume.get("spec") or {}).get("claimRef"):
        trouble = mismatch(volume, claim)
        if not trouble:
            return ClaimPlan(volume=volume)
        text = f'Cannot bind to requested volume "{name_of(volume)}": {trouble}'
        return ClaimPlan(phase="Pending", event=(WARNING, "VolumeMismatch", text))
    if is_bound_to(volume, claim):
        return ClaimPlan(volume=volume)
    text = f'volume "{name_of(volume)}" already bound to a different claim.'
    phase = "" if BOUND_BY_CONTROLLER in annotations_of(claim) else "Pending"
    return ClaimPlan(phase=phase, event=(WARNING, "FailedBinding", text))


def _unbound(claim: Object, world: ClaimWorld) -> ClaimPlan:
    delayed = is_delayed(world.storage_class)
    volume = best_match(claim, world.candidates, delayed=delayed)
    if volume is not None:
        return ClaimPlan(volume=volume)
    if not has_class(claim) and world.default is not None:
        return ClaimPlan(storage_class=name_of(world.default))
    if delayed and SELECTED_NODE not in annotations_of(claim):
        return ClaimPlan(phase="Pending", event=_waiting(world.waiting))
    if class_of(claim):
        return _provisioned(claim, world.storage_class)
    return ClaimPlan(phase="Pending", event=(NORMAL, "FailedBinding", NO_VOLUME))


def _waiting(pods: Sequence[str]) -> Event:
    if not pods:
        return (NORMAL, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    noun = "pods" if len(pods) > 1 else "pod"
    return (NORMAL, "WaitForPodScheduled", f"waiting for {noun} {','.join(pods)} to be scheduled")


def _provisioned(claim: Object, storage_class: Object | None) -> ClaimPlan:
    """Somebody has to make a volume: who, or why nobody will. There are no provisioners inside this controller."""
    if storage_class is None:
        text = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
        return ClaimPlan(event=(WARNING, "ProvisioningFailed", text))
    provisioner = storage_class.get("provisioner") or ""
    provisioner = driver_of(provisioner) or provisioner
    if provisioner.startswith("kubernetes.io/"):
        text = f"no volume plugin matched name: {provisioner}"
        return ClaimPlan(event=(WARNING, "ProvisioningFailed", text))
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    return ClaimPlan(provisioner=provisioner, event=(NORMAL, "ExternalProvisioning", text))
