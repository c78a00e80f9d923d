"""What is to be done for a volume. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kumo.api.objects import Object, annotations_of, name_of
from kumo.api.volume_claims import same_mode, volume_name
from kumo.api.volume_migration import MIGRATED_TO
from kumo.kubernetes.controller_manager.volume_binding.claims import Event
from kumo.kubernetes.controller_manager.volume_binding.forms import PROVISIONED_BY
from kumo.kubernetes.controller_manager.volume_binding.recycling import can_recycle
from kumo.machinery.events import WARNING

_FREED = ("Released", "Failed")


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """The phase that the volume has to be in ("" for any); before that it is unbound, if so.

    `failure` (reason and message) then marks it as failed, unless it is; `ask_claim` lets the claim be looked at.
    """

    phase: str = ""
    unbind: bool = False
    ask_claim: bool = False
    failure: tuple[str, str] | None = None
    events: tuple[Event, ...] = ()
    claim_events: tuple[Event, ...] = ()
    recycle: bool = False
    """Whether the volume is to be emptied and then unbound."""


def decide(volume: Object, claim: Object | None) -> VolumePlan:
    """The plan for a volume; `claim` is the one whose name and uid its `claimRef` has, or None if that is no more."""
    ref = (volume.get("spec") or {}).get("claimRef")
    if not ref or not ref.get("uid"):
        return VolumePlan(phase="Available")
    if claim is None:
        return _freed(volume)
    if volume_name(claim) == name_of(volume):
        return VolumePlan(phase="Bound")
    if volume_name(claim):
        made_for_it = PROVISIONED_BY in annotations_of(volume) and _policy(volume) == "Delete"
        return _freed(volume) if made_for_it else VolumePlan(phase="Available", unbind=True)
    if same_mode(volume, claim):
        return VolumePlan(ask_claim=True)
    why = "due to incompatible volumeMode."
    mine = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{name_of(claim)}" {why}'
    its = f'Cannot bind PersistentVolume "{name_of(volume)}" to requested PersistentVolumeClaim {why}'
    return VolumePlan(events=((WARNING, "VolumeMismatch", mine),), claim_events=((WARNING, "VolumeMismatch", its),))


def _freed(volume: Object) -> VolumePlan:
    phase = (volume.get("status") or {}).get("phase")
    wanted = "" if phase in _FREED else "Released"
    migrated = annotations_of(volume).get(MIGRATED_TO)
    if _policy(volume) == "Recycle" and not migrated and can_recycle(volume):
        return VolumePlan(phase=wanted, recycle=True)
    return VolumePlan(phase=wanted, failure=_reclaim_failure(volume))


def _policy(volume: Object) -> str:
    return (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy") or ""


def _reclaim_failure(volume: Object) -> tuple[str, str] | None:
    """Why a freed volume can't be reclaimed; None if it is retained, or its provisioner will delete it."""
    policy = _policy(volume)
    annotations = annotations_of(volume)
    if policy == "Retain" or annotations.get(MIGRATED_TO):
        return None
    if policy == "Recycle":
        return ("VolumeFailedRecycle", "No recycler plugin found for the volume!")
    if policy != "Delete":
        return ("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy")
    provisioner = annotations.get(PROVISIONED_BY) or ""
    if provisioner:
        foreign = not provisioner.startswith("kubernetes.io/")
        return None if foreign else ("VolumeFailedDelete", f"no volume plugin matched name: {provisioner}")
    if (volume.get("spec") or {}).get("csi"):
        return None
    path = ((volume.get("spec") or {}).get("hostPath") or {}).get("path")
    if path:
        return ("VolumeFailedDelete", _host_path_failure(path))
    text = f'error getting deleter volume plugin for volume "{name_of(volume)}": no deletable volume plugin matched'
    return ("VolumeFailedDelete", text)


def _host_path_failure(path: str) -> str:
    """Nothing is deleted on the host that this controller happens to run on, unlike upstream beneath `/tmp`."""
    if re.search("/tmp/.+", path) is None:
        return f"host_path deleter only supports /tmp/.+ but received provided {path}"
    return f"deleting hostPath volumes is left to the node's administrator: {path}"
