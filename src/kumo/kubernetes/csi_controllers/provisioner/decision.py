"""Which claims and volumes the driver's provisioner acts on. Pure; the rules are external-provisioner's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from kumo.api.objects import Object, annotations_of, is_deleting, name_of, uid_of
from kumo.api.volume_claims import SELECTED_NODE, is_delayed, volume_name
from kumo.api.volume_migration import MIGRATED_TO

PROVISIONER = "volume.kubernetes.io/storage-provisioner"
OLD_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
"""On a volume that is to be deleted by its driver before its object goes."""


class State(Enum):
    """What a failure left behind: see `Failed`."""

    FINISHED = "finished"
    """Nothing is going on at the driver."""
    BACKGROUND = "background"
    """The driver may still be at it: it has to be asked again, also when the claim is gone."""
    UNCHANGED = "unchanged"
    """As it was before."""
    RESCHEDULE = "reschedule"
    """Finished here; another node may have more luck."""


@dataclass(eq=False)
class Failed(Exception):
    """A volume was not made. `infeasible`: it never will be; `silent`: and there is nothing to tell."""

    message: str
    state: State = State.FINISHED
    infeasible: bool = False
    silent: bool = False
    again: bool = True
    """Whether trying again makes sense."""

    def __str__(self) -> str:
        return self.message


def volume_name_for(claim: Object) -> str:
    """The name of the volume that is made for a claim."""
    return f"pvc-{uid_of(claim)}"


def is_asked(claim: Object, driver: str) -> bool:
    """Whether the claim was handed to the driver's provisioner and has no volume."""
    annotations = annotations_of(claim)
    provisioner = annotations.get(PROVISIONER) or annotations.get(OLD_PROVISIONER)
    return not volume_name(claim) and driver in (provisioner, annotations.get(MIGRATED_TO))


class Turn(Enum):
    """Whose turn it is to make a volume."""

    OURS = "ours"
    NOBODYS = "nobody's"
    """No pod waits, no node has been chosen: any node may offer itself."""
    OTHERS = "another's"


def turn(claim: Object, storage_class: Object, node: str) -> Turn:
    """Whether the volume is to be made now and here; `node` is empty for a driver that serves the whole cluster."""
    selected = annotations_of(claim).get(SELECTED_NODE) or ""
    delayed = is_delayed(storage_class)
    if delayed and not selected:
        return Turn.OTHERS
    if not node or selected == node:
        return Turn.OURS
    return Turn.OTHERS if selected else Turn.NOBODYS


def is_managed(volume: Object, driver: str) -> bool:
    """Whether the driver's provisioner deletes the volume: it made it, or it is the driver's and nobody else's."""
    annotations = annotations_of(volume)
    if PROVISIONED_BY in annotations:
        return driver in (annotations[PROVISIONED_BY], annotations.get(MIGRATED_TO))
    source = (volume.get("spec") or {}).get("csi")
    return (source or {}).get("driver") == driver if source else annotations.get(MIGRATED_TO) == driver


def wanted_finalizers(volume: Object) -> list[str]:
    """The volume's finalizers as they have to be while nothing is deleted."""
    found = list(volume["metadata"].get("finalizers") or ())
    policy = (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy")
    bound = (volume.get("status") or {}).get("phase") == "Bound"
    if policy in ("Retain", "Recycle"):
        return [f for f in found if f != FINALIZER]
    if policy == "Delete" and bound and not is_deleting(volume) and FINALIZER not in found:
        return [*found, FINALIZER]
    return found


def is_to_be_deleted(volume: Object) -> bool:
    """Whether what the volume stands for is to be deleted now."""
    if is_deleting(volume) and FINALIZER not in (volume["metadata"].get("finalizers") or ()):
        return False
    policy = (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy")
    return (volume.get("status") or {}).get("phase") == "Released" and policy == "Delete"


def attached_to(volume: Object, attachments: Iterable[Object]) -> str:
    """The node that a volume is attached to, or the empty string."""
    for attachment in attachments:
        spec = attachment.get("spec") or {}
        if (spec.get("source") or {}).get("persistentVolumeName") == name_of(volume):
            return str(spec.get("nodeName") or "")
    return ""
