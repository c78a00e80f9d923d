"""To what size a volume is to be grown now. Pure; the rules are external-resizer's.

The claim's status says how far an earlier growing got (`allocatedResourceStatuses`) and to what size
(`allocatedResources`): one that may be under way is finished before another size is begun.
"""

from __future__ import annotations

from kumo.api import quantities
from kumo.api.objects import Object, namespace_of, uid_of
from kumo.kubernetes.csi_controllers.volumes import size

CONTROLLER_IN_PROGRESS = "ControllerResizeInProgress"
CONTROLLER_INFEASIBLE = "ControllerResizeInfeasible"
NODE_PENDING = "NodeResizePending"
NODE_IN_PROGRESS = "NodeResizeInProgress"
NODE_INFEASIBLE = "NodeResizeInfeasible"


def requested(claim: Object) -> int:
    """The bytes that the claim asks for."""
    return size(claim, "spec", "resources", "requests")


def capacity(claim: Object) -> int:
    """The bytes that the claim has."""
    return size(claim, "status", "capacity")


def allocated(claim: Object) -> int | None:
    """The bytes that the last growing was for; None if there was none."""
    found = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
    return None if found is None else quantities.whole(found)


def resize_status(claim: Object) -> str:
    """How far the last growing got; empty if it is done."""
    return ((claim.get("status") or {}).get("allocatedResourceStatuses") or {}).get("storage") or ""


def needs_resize(claim: Object, volume: Object) -> bool:
    """Whether a bound claim asks for more than it has, and has the volume."""
    ref = (volume.get("spec") or {}).get("claimRef") or {}
    bound = (ref.get("uid"), ref.get("namespace")) == (uid_of(claim), namespace_of(claim))
    return bound and (claim.get("status") or {}).get("phase") == "Bound" and requested(claim) > capacity(claim)


def target(claim: Object, volume: Object, *, failed: bool, controls: bool) -> int | None:
    """The size to grow to; None if that is the node's work now.

    `failed`: whether the driver surely ended the last attempt. `controls`: whether it grows volumes at all, not only
    their file systems on nodes.
    """
    wanted, last, status = requested(claim), allocated(claim), resize_status(claim)
    has = size(volume, "spec", "capacity")
    if has < wanted:
        if status == NODE_INFEASIBLE:
            return wanted if last is None else last
        if status in (NODE_PENDING, NODE_IN_PROGRESS):
            goal = wanted if last is None else last
            return None if has >= goal else goal
        if status == CONTROLLER_IN_PROGRESS and not failed and last is not None:
            return last
        return wanted
    if status in (NODE_PENDING, NODE_IN_PROGRESS):
        return None
    if status == NODE_INFEASIBLE:
        return last if controls and last is not None else wanted
    if last is not None:
        return last
    return None if _waits_for_node(claim) and not status else wanted


def _waits_for_node(claim: Object) -> bool:
    conditions = (claim.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "FileSystemResizePending" and c.get("status") == "True" for c in conditions)
