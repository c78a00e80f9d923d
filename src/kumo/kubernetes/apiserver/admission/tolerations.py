"""What pods tolerate by default: DefaultTolerationSeconds, ExtendedResourceToleration, and merging. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kumo.api.quota.tracking import is_extended
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
TOLERATION_SECONDS = 300
Toleration = dict[str, Any]


def default_tolerations(attrs: AdmissionAttributes) -> None:
    """Let the pod stay on a node for five minutes after it becomes not ready or unreachable, unless it says else."""
    if attrs.object is None:
        return
    spec: dict[str, Any] = attrs.object.setdefault("spec", {})
    tolerations = spec.get("tolerations") or []
    for key in (NOT_READY, UNREACHABLE):
        if not any(t.get("key") in (None, "", key) and t.get("effect") in (None, "", "NoExecute") for t in tolerations):
            added = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
            tolerations = [*tolerations, added]
    if tolerations:
        spec["tolerations"] = tolerations


def extended_resource_tolerations(attrs: AdmissionAttributes) -> None:
    """Let a pod onto the nodes that are tainted with an extended resource which it asks for."""
    spec: dict[str, Any] = (attrs.object or {}).get("spec") or {}
    everyone = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    asked = {name for c in everyone for name in (c.get("resources") or {}).get("requests") or {} if is_extended(name)}
    for name in sorted(asked):
        wanted = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
        tolerations = spec.get("tolerations") or []
        if not any(covers(present, wanted) for present in tolerations):
            spec["tolerations"] = [*tolerations, wanted]


def merge(first: Iterable[Toleration], second: Iterable[Toleration]) -> list[Toleration]:
    """Both, without those that another one covers (`pkg/util/tolerations`)."""
    every = [*first, *second]
    merged: list[Toleration] = []
    for index, one in enumerate(every):
        if any(covers(other, one) for other in merged):
            continue
        if any(other != one and covers(other, one) for other in every[index + 1 :]):
            continue
        merged.append(one)
    return merged


def covers(wide: Toleration, narrow: Toleration) -> bool:
    """Whether `wide` tolerates all that `narrow` does."""
    if wide == narrow:
        return True
    operator = wide.get("operator") or ""
    if (narrow.get("key") or "") != (wide.get("key") or "") and (wide.get("key") or operator != "Exists"):
        return False
    if wide.get("effect") and narrow.get("effect") != wide["effect"]:
        return False
    limit = wide.get("tolerationSeconds")
    if wide.get("effect") == "NoExecute" and limit is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > limit:
            return False
    if operator in ("", "Equal"):
        return narrow.get("operator") == "Equal" and (narrow.get("value") or "") == (wide.get("value") or "")
    return operator == "Exists"
