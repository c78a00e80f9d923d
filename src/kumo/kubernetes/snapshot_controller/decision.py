"""What holds of snapshots, contents and claims. Pure; the rules and words are external-snapshotter's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kumo.api.objects import Object, annotations_of, is_deleting, name_of, namespace_of, uid_of
from kumo.kubernetes.snapshot_controller.names import (
    BOUND_FINALIZER,
    DEFAULT_CLASS,
    GROUP,
    SOURCE_FINALIZER,
)


class Trouble(Exception):
    """A snapshot can't go on: `reason` and `message` of the event. `unready`: it is certainly not ready."""

    def __init__(self, reason: str, message: str, *, unready: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.unready = unready


def source(obj: Object) -> dict[str, Any]:
    """The `spec.source` of a snapshot or a content."""
    found: dict[str, Any] = (obj.get("spec") or {}).get("source") or {}
    return found


def is_ready(snapshot: Object) -> bool:
    """Whether volumes can be made of it."""
    return bool((snapshot.get("status") or {}).get("readyToUse"))


def bound_content(snapshot: Object) -> str:
    """The name of the content that it is bound to; empty for none."""
    return (snapshot.get("status") or {}).get("boundVolumeSnapshotContentName") or ""


def own_content(snapshot: Object) -> str:
    """The name of the content that is made for it."""
    return f"snapcontent-{uid_of(snapshot)}"


def names(content: Object, snapshot: Object) -> bool:
    """Whether the content is the snapshot's."""
    ref = (content.get("spec") or {}).get("volumeSnapshotRef") or {}
    mine = (uid_of(snapshot), name_of(snapshot), namespace_of(snapshot))
    return (ref.get("uid"), ref.get("name"), ref.get("namespace")) == mine


def check_content(snapshot: Object, content: Object) -> None:
    """Raise Trouble if the content is not one that the snapshot can have."""
    given = bool(source(snapshot).get("volumeSnapshotContentName"))
    name = name_of(content)
    if given and not source(content).get("snapshotHandle"):
        why = "VolumeSnapshotContent is dynamically provisioned while expecting a pre-provisioned one"
        raise Trouble("SnapshotContentMismatch", why)
    if not given and not source(content).get("volumeHandle"):
        why = f"VolumeSnapshotContent {name} is pre-provisioned while expecting a dynamically provisioned one"
        raise Trouble("SnapshotContentMismatch", why)
    ref = (content.get("spec") or {}).get("volumeSnapshotRef") or {}
    same = (ref.get("name"), ref.get("namespace")) == (name_of(snapshot), namespace_of(snapshot))
    open_to_all = given and not ref.get("uid")
    if not same or not (open_to_all or ref.get("uid") == uid_of(snapshot)):
        raise Trouble("SnapshotContentMisbound", f"VolumeSnapshotContent [{name}] is bound to a different snapshot")


def missing_finalizers(snapshot: Object, content: Object | None) -> list[str]:
    """The finalizers that the snapshot lacks while it is not being deleted."""
    has = snapshot["metadata"].get("finalizers") or ()
    wanted = [SOURCE_FINALIZER]
    policy = ((content or {}).get("spec") or {}).get("deletionPolicy")
    if content is not None and bound_content(snapshot) and policy == "Delete":
        wanted.append(BOUND_FINALIZER)
    return [f for f in wanted if f not in has]


def is_being_restored(snapshot: Object, claims: Iterable[Object]) -> bool:
    """Whether a volume is being made of the snapshot."""
    for claim in claims:
        wanted = (claim.get("spec") or {}).get("dataSource") or {}
        of = (wanted.get("kind"), wanted.get("apiGroup"), wanted.get("name"), namespace_of(claim))
        pending = (claim.get("status") or {}).get("phase") == "Pending"
        if pending and of == ("VolumeSnapshot", GROUP, name_of(snapshot), namespace_of(snapshot)):
            return True
    return False


def is_being_cut(claim: Object, snapshots: Iterable[Object], but: str = "") -> bool:
    """Whether a snapshot of the claim, other than the one called `but`, is still to become ready."""
    return any(
        source(s).get("persistentVolumeClaimName") == name_of(claim) and name_of(s) != but and not is_ready(s)
        for s in snapshots
    )


def default_class(classes: Iterable[Object], driver: str) -> Object:
    """The default class of a driver. Raises Trouble unless there is exactly one."""
    found = [c for c in classes if annotations_of(c).get(DEFAULT_CLASS) == "true" and c.get("driver") == driver]
    if len(found) == 1:
        return found[0]
    why = f"{len(found)} default snapshot classes were found" if found else "cannot find default snapshot class"
    lead = "Failed to set default snapshot class with error"
    raise Trouble("SetDefaultSnapshotClassFailed", f"{lead} {why}", unready=False)


def volume_trouble(claim: Object, volume: Object | None) -> str:
    """Why no snapshot can be cut of the claim's volume; empty if it can."""
    if (claim.get("status") or {}).get("phase") != "Bound":
        return f"the PVC {name_of(claim)} is not yet bound to a PV, will not attempt to take a snapshot"
    name = (claim.get("spec") or {}).get("volumeName")
    if volume is None:
        return f'failed to retrieve PV {name} from the API server: "persistentvolumes \\"{name}\\" not found"'
    ref = (volume.get("spec") or {}).get("claimRef") or {}
    same = (ref.get("name"), ref.get("namespace")) == (name_of(claim), namespace_of(claim))
    if not same or (ref.get("uid") and ref["uid"] != uid_of(claim)):
        return "claim in dataSource not bound or invalid"
    return ""


def is_deletable(snapshot: Object) -> bool:
    """Whether the snapshot is being deleted and held by this controller."""
    held = snapshot["metadata"].get("finalizers") or ()
    return is_deleting(snapshot) and bool({SOURCE_FINALIZER, BOUND_FINALIZER} & set(held))
