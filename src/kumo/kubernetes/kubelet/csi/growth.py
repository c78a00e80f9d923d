"""Whether a claim's volume is to be grown on the node, and what its status says then. Pure; upstream's NodeExpander."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object

_STORAGE = "storage"
_RESIZING = ("FileSystemResizePending", "Resizing", "ControllerResizeError", "NodeResizeError", "ModifyVolumeError")
_DUE = ("NodeResizePending", "NodeResizeInProgress")
_INFEASIBLE = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND")


def wanted(claim: Object, volume: Object) -> str:
    """The size that the node has to grow the volume to (a quantity); empty if there is nothing to do."""
    status = claim.get("status") or {}
    have = (status.get("capacity") or {}).get(_STORAGE) or "0"
    allocated = (status.get("allocatedResources") or {}).get(_STORAGE)
    state = (status.get("allocatedResourceStatuses") or {}).get(_STORAGE)
    if state or allocated:
        return str(allocated) if allocated and state in _DUE else ""
    # A resizer that knows nothing of recovery leaves only the volume's capacity.
    size = ((volume.get("spec") or {}).get("capacity") or {}).get(_STORAGE) or "0"
    return str(size) if quantities.parse(have) < quantities.parse(size) else ""


def unclear(claim: Object) -> bool:
    """Whether the claim alone does not say that there is nothing to do: then its volume has to be looked at."""
    status, spec = claim.get("status") or {}, claim.get("spec") or {}
    have = (status.get("capacity") or {}).get(_STORAGE) or "0"
    asked = ((spec.get("resources") or {}).get("requests") or {}).get(_STORAGE) or "0"
    return bool(status.get("allocatedResourceStatuses")) or quantities.parse(have) < quantities.parse(asked)


def in_progress(claim: Object) -> dict[str, Any]:
    """The patch of the claim's status when growing begins; empty if it says so already (or is told nothing)."""
    state = ((claim.get("status") or {}).get("allocatedResourceStatuses") or {}).get(_STORAGE)
    if state is None or state == "NodeResizeInProgress":
        return {}
    return {"status": {"allocatedResourceStatuses": {_STORAGE: "NodeResizeInProgress"}}}


def finished(claim: Object, size: str) -> dict[str, Any]:
    """The merge patch of the claim's status when the volume has the size."""
    status = claim.get("status") or {}
    rest = [c for c in status.get("conditions") or () if c.get("type") not in _RESIZING[:4]]
    others = {k: v for k, v in (status.get("allocatedResourceStatuses") or {}).items() if k != _STORAGE}
    return {
        "status": {
            "capacity": {_STORAGE: size},
            "conditions": rest or None,
            "allocatedResourceStatuses": {_STORAGE: None} if others else None,
        }
    }


def failed(claim: Object, code: str, text: str, now: str) -> dict[str, Any]:
    """The merge patch of the claim's status when a driver refused for good with the gRPC code."""
    conditions: list[Mapping[str, Any]] = list((claim.get("status") or {}).get("conditions") or ())
    fresh: dict[str, Any] = {
        "type": "NodeResizeError",
        "status": "True",
        "lastTransitionTime": now,
        "message": f"failed to expand pvc with {text}",
    }
    if not any(c.get("type") == "NodeResizeError" and c.get("status") == "True" for c in conditions):
        conditions = [*(c for c in conditions if c.get("type") != "NodeResizeError"), fresh]
    status: dict[str, Any] = {"conditions": conditions}
    if infeasible(code):
        status["allocatedResourceStatuses"] = {_STORAGE: "NodeResizeInfeasible"}
    return {"status": status}


def infeasible(code: str) -> bool:
    """Whether the gRPC code says that trying again is of no use."""
    return code in _INFEASIBLE
