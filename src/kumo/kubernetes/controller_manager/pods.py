"""Questions that several controllers ask of a pod: whether it is active, ready, available; and pods from templates."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, is_deleting, name_of, namespace_of, owner_reference, parse_timestamp

ENDED = ("Succeeded", "Failed")


def phase(pod: Object) -> str:
    """`status.phase`, Pending while there is none."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def has_ended(pod: Object) -> bool:
    """Whether the pod has run to its end."""
    return phase(pod) in ENDED


def is_active(pod: Object) -> bool:
    """Whether the pod counts as a replica: neither ended nor on its way out."""
    return not has_ended(pod) and not is_deleting(pod)


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    return conditions.is_true(pod, "Ready")


def ready_since(pod: Object) -> float | None:
    """When the pod became ready, seconds since the epoch; None if it isn't."""
    found = conditions.condition(pod, "Ready")
    if found is None or found.get("status") != "True" or not found.get("lastTransitionTime"):
        return None
    return parse_timestamp(found["lastTransitionTime"])


def is_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    """Whether the pod has been ready for at least `min_ready_seconds`."""
    if not is_ready(pod):
        return False
    since = ready_since(pod)
    return not min_ready_seconds or (since is not None and since + min_ready_seconds <= now)


def from_template(template: Object, owner: Object) -> Object:
    """A pod of a template, controlled by `owner`, with a generated name."""
    meta: dict[str, Any] = {
        "generateName": f"{name_of(owner)}-",
        "namespace": namespace_of(owner),
        "ownerReferences": [owner_reference(owner)],
    }
    source = template.get("metadata") or {}
    for name in ("labels", "annotations", "finalizers"):
        if source.get(name):
            meta[name] = deepcopy(source[name])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": deepcopy(template.get("spec") or {})}
