"""What a claim says while its volume grows. Pure: each gives the claim's new status, and the annotation beside it."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, timestamp
from kumo.kubernetes.csi_controllers.resizer.decision import (
    CONTROLLER_IN_PROGRESS,
    CONTROLLER_INFEASIBLE,
    NODE_PENDING,
)
from kumo.kubernetes.csi_controllers.volumes import in_bytes

NO_NODE_EXPANSION = "volume.kubernetes.io/node-expansion-not-required"
"""On a claim: the node has nothing to grow."""
SIZE_BEFORE_RESIZE = "volume.alpha.kubernetes.io/pre-resize-capacity"
"""On a volume: the size that its file system still has."""
_KINDS = ("Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError")
_PENDING = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."

Status = dict[str, Any]


def in_progress(claim: Object, size: int, *, fresh: bool) -> Status:
    """The driver is asked for `size`. `fresh`: for the first time, so that what was said of earlier ones goes."""
    status = _status(claim)
    status["conditions"] = _merged(status, _condition("Resizing"), keep=not fresh)
    if fresh:
        _allocation(status, CONTROLLER_IN_PROGRESS)
    status["allocatedResources"] = {**(status.get("allocatedResources") or {}), "storage": in_bytes(size)}
    return status


def waiting_for_node(claim: Object) -> Status:
    """The volume is large enough; the node has to grow its file system."""
    status = _status(claim)
    status["conditions"] = _merged(status, _condition("FileSystemResizePending", _PENDING), keep=True)
    _allocation(status, NODE_PENDING)
    return status


def failed(claim: Object, why: str, *, infeasible: bool) -> Status:
    """The driver refused."""
    status = _status(claim)
    error = _condition("ControllerResizeError", f"failed to expand pvc with {why}")
    status["conditions"] = _merged(status, error, keep=True)
    if infeasible:
        _allocation(status, CONTROLLER_INFEASIBLE)
    return status


def finished(claim: Object, size: int) -> Status:
    """The volume has its new size, and the node has nothing to do."""
    status = _status(claim)
    status["capacity"] = {**(status.get("capacity") or {}), "storage": in_bytes(size)}
    status["conditions"] = _merged(status, None, keep=False)
    left = {k: v for k, v in (status.get("allocatedResourceStatuses") or {}).items() if k != "storage"}
    status["allocatedResourceStatuses"] = left
    return status


def _status(claim: Object) -> Status:
    return dict(claim.get("status") or {})


def _allocation(status: Status, state: str) -> None:
    status["allocatedResourceStatuses"] = {**(status.get("allocatedResourceStatuses") or {}), "storage": state}


def _condition(kind: str, message: str = "") -> dict[str, Any]:
    made = {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp()}
    return {**made, "message": message} if message else made


def _merged(status: Status, new: dict[str, Any] | None, *, keep: bool) -> list[dict[str, Any]]:
    """The conditions with the new one; others that are about growing stay only if `keep`."""
    old = status.get("conditions") or []
    kind = new["type"] if new is not None else ""
    same = next((c for c in old if c.get("type") == kind), None)
    if same is not None and new is not None and same.get("status") == new["status"]:
        new = {**new, "lastTransitionTime": same.get("lastTransitionTime")}
    left = [c for c in old if c.get("type") != kind and (keep or c.get("type") not in _KINDS)]
    return [*left, new] if new is not None else left
