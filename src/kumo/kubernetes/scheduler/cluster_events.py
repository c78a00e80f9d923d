"""What happens in the cluster, in the terms of queueing: which resource changed, and how. Pure.

Upstream's `ClusterEvent`: plugins name the events after which a pod that they refused is worth another try.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, Flag, auto
from typing import Any, NamedTuple

from kumo.api.objects import Object, annotations_of, labels_of


class Resource(Enum):
    """The kinds of things whose changes can help a waiting pod."""

    POD = auto()
    NODE = auto()
    CLAIM = auto()
    VOLUME = auto()
    STORAGE_CLASS = auto()
    CSI_NODE = auto()
    CSI_DRIVER = auto()
    CAPACITY = auto()
    ATTACHMENT = auto()
    RESOURCE_CLAIM = auto()
    RESOURCE_SLICE = auto()
    DEVICE_CLASS = auto()


class Action(Flag):
    """The sorts of change. `OWN_...` are changes of the waiting pod itself."""

    ADD = auto()
    DELETE = auto()
    UPDATE = auto()
    NODE_ALLOCATABLE = auto()
    NODE_LABEL = auto()
    NODE_TAINT = auto()
    NODE_CONDITION = auto()
    NODE_ANNOTATION = auto()
    NODE_FEATURE = auto()
    POD_LABEL = auto()
    POD_SCALE_DOWN = auto()
    POD_TOLERATION = auto()
    POD_GATES = auto()
    POD_CLAIMS = auto()


class Happening(NamedTuple):
    """One event: what changed and the object before and after (None where there is none)."""

    resource: Resource
    action: Action
    old: Object | None
    new: Object | None


Hint = Callable[[Object, Happening], bool]
"""Whether the event may make the (waiting) pod schedulable."""


class Interest(NamedTuple):
    """A plugin's interest in events of a resource; without a hint all of them are worth another try."""

    resource: Resource
    actions: Action
    hint: Hint | None = None


def always(_: Object, __: Happening) -> bool:
    """A hint that sees hope in everything."""
    return True


def node_actions(old: Object, new: Object) -> Action:
    """What has changed about a node; nothing for a mere heartbeat."""
    found = Action(0)
    before, after = old.get("spec") or {}, new.get("spec") or {}
    was, now = old.get("status") or {}, new.get("status") or {}
    if before.get("unschedulable") and not after.get("unschedulable"):
        found |= Action.NODE_TAINT
    if was.get("allocatable") != now.get("allocatable"):
        found |= Action.NODE_ALLOCATABLE
    if labels_of(old) != labels_of(new):
        found |= Action.NODE_LABEL
    if (before.get("taints") or []) != (after.get("taints") or []):
        found |= Action.NODE_TAINT
    if _states(was) != _states(now):
        found |= Action.NODE_CONDITION
    if annotations_of(old) != annotations_of(new):
        found |= Action.NODE_ANNOTATION
    if (was.get("declaredFeatures") or []) != (now.get("declaredFeatures") or []):
        found |= Action.NODE_FEATURE
    return found


def _states(status: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c.get("status") for c in status.get("conditions") or ()}


def pod_actions(old: Object, new: Object, less: Callable[[Object, Object], bool]) -> Action:
    """What has changed about a pod; `less` says whether the second asks for less than the first."""
    found = Action(0)
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if labels_of(old) != labels_of(new):
        found |= Action.POD_LABEL
    if (before.get("tolerations") or []) != (after.get("tolerations") or []):
        found |= Action.POD_TOLERATION
    if before.get("schedulingGates") and not after.get("schedulingGates"):
        found |= Action.POD_GATES
    made = [(o.get("status") or {}).get("resourceClaimStatuses") for o in (old, new)]
    if made[0] != made[1]:
        found |= Action.POD_CLAIMS
    resized = before.get("containers") != after.get("containers") or before.get("resources") != after.get("resources")
    statuses = [(o.get("status") or {}).get("containerStatuses") for o in (old, new)]
    if (resized or statuses[0] != statuses[1]) and less(old, new):
        found |= Action.POD_SCALE_DOWN
    return found


def label_of(event: Happening) -> str:
    """What metrics call the event."""
    action = next((text for flag, text in _ACTIONS.items() if flag in event.action), "Update")
    if event.resource is Resource.POD:
        shown = event.new if event.new is not None else event.old
        placed = event.new is None or ((shown or {}).get("spec") or {}).get("nodeName")
        return f"{'AssignedPod' if placed else 'UnschedulablePod'}{action}"
    return f"{_RESOURCES[event.resource]}{action}"


_ACTIONS = {
    Action.ADD: "Add",
    Action.DELETE: "Delete",
    Action.NODE_ALLOCATABLE: "UpdateNodeAllocatable",
    Action.NODE_LABEL: "UpdateNodeLabel",
    Action.NODE_TAINT: "UpdateNodeTaint",
    Action.NODE_CONDITION: "UpdateNodeCondition",
    Action.NODE_ANNOTATION: "UpdateNodeAnnotation",
    Action.NODE_FEATURE: "UpdateNodeDeclaredFeature",
    Action.POD_LABEL: "UpdatePodLabel",
    Action.POD_SCALE_DOWN: "UpdatePodScaleDown",
    Action.POD_TOLERATION: "UpdatePodToleration",
    Action.POD_GATES: "UpdatePodSchedulingGatesEliminated",
    Action.POD_CLAIMS: "UpdatePodGeneratedResourceClaim",
}
_RESOURCES = {
    Resource.NODE: "Node",
    Resource.CLAIM: "PersistentVolumeClaim",
    Resource.VOLUME: "PersistentVolume",
    Resource.STORAGE_CLASS: "storage.k8s.io/StorageClass",
    Resource.CSI_NODE: "storage.k8s.io/CSINode",
    Resource.CSI_DRIVER: "storage.k8s.io/CSIDriver",
    Resource.CAPACITY: "storage.k8s.io/CSIStorageCapacity",
    Resource.ATTACHMENT: "storage.k8s.io/VolumeAttachment",
    Resource.RESOURCE_CLAIM: "resource.k8s.io/ResourceClaim",
    Resource.RESOURCE_SLICE: "resource.k8s.io/ResourceSlice",
    Resource.DEVICE_CLASS: "resource.k8s.io/DeviceClass",
}
