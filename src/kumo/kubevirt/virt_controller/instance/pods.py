"""Reading launcher pods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kumo.api.conditions import find
from kumo.api.objects import Object, annotations_of, is_deleting, labels_of
from kumo.kubevirt.common.launcher_contract import COMPUTE
from kumo.kubevirt.common.names import FINAL_PHASES, OVERHEAD_ANNOTATION
from kumo.kubevirt.virt_controller.failure import SyncFailure

MIGRATION_LABEL = "kubevirt.io/migrationJobUID"
_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff")


def phase(pod: Object) -> str:
    """`status.phase`."""
    return str((pod.get("status") or {}).get("phase") or "")


def is_final(pod: Object) -> bool:
    """Whether all containers have ended for good."""
    return phase(pod) in FINAL_PHASES


def is_down_or_going(pod: Object) -> bool:
    """Whether the pod has ended or is ending: finally, by deletion, or because `compute` has exited."""
    if is_final(pod) or is_deleting(pod):
        return True
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(s.get("name") == COMPUTE and (s.get("state") or {}).get("terminated") is not None for s in statuses)


def is_ready(pod: Object) -> bool:
    """Whether the launcher can be talked to: `compute` runs, and all other containers are ready.

    Not the pod's condition Ready: that may wait for the guest, by a readiness probe or by the gate that follows it
    being paused.
    """
    if phase(pod) != "Running" or is_down_or_going(pod):
        return False
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return bool(statuses) and all(_is_up(status) for status in statuses)


def _is_up(status: dict[str, Any]) -> bool:
    if status.get("name") == COMPUTE:
        return (status.get("state") or {}).get("running") is not None
    return bool(status.get("ready"))


def current_pod(vmi: Object, pods: Iterable[Object]) -> Object | None:
    """The pod that the instance runs in: the newest of its own on its node, targets of migrations left out."""
    node = (vmi.get("status") or {}).get("nodeName")
    found = [
        p
        for p in pods
        if not (node and (p.get("spec") or {}).get("nodeName") != node) and MIGRATION_LABEL not in labels_of(p)
    ]
    return max(found, key=lambda p: p["metadata"].get("creationTimestamp") or "", default=None)


def image_failure(pod: Object) -> SyncFailure | None:
    """Why an image of the pod cannot be had, if one cannot."""
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _IMAGE_REASONS:
            return SyncFailure(waiting["reason"], waiting.get("message", ""), retry=False)
    return None


def pod_condition(pod: Object, kind: str) -> dict[str, object] | None:
    """The pod's condition of that type."""
    return find((pod.get("status") or {}).get("conditions"), kind)


def compute_image(pod: Object) -> str:
    """The image of the launcher."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    return next((str(c.get("image", "")) for c in containers if c.get("name") == COMPUTE), "")


def overhead(pod: Object) -> int | None:
    """The memory overhead that the pod was made with, in bytes."""
    text = annotations_of(pod).get(OVERHEAD_ANNOTATION, "")
    return int(text) if text.isdigit() else None
