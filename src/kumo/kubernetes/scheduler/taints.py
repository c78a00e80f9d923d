"""Taints and tolerations, of core/v1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kumo.kubernetes.scheduler.nodes import PodInfo

HARD = ("NoSchedule", "NoExecute")
SOFT = ("PreferNoSchedule",)


def tolerations(pod: PodInfo) -> list[dict[str, Any]]:
    """The pod's tolerations."""
    return pod.spec.get("tolerations") or []


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether the toleration covers the taint; an empty effect or key stands for all of them."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    mine, its = toleration.get("value") or "", taint.get("value") or ""
    if operator == "Exists":
        return True
    if operator in ("Lt", "Gt"):
        try:
            return int(its) < int(mine) if operator == "Lt" else int(its) > int(mine)
        except ValueError:
            return False
    return bool(mine == its)


def untolerated(
    taints: Iterable[Mapping[str, Any]], held: Iterable[Mapping[str, Any]], effects: tuple[str, ...]
) -> Mapping[str, Any] | None:
    """The first taint of one of the effects that no toleration covers, or None."""
    held = list(held)
    for taint in taints:
        if taint.get("effect") in effects and not any(tolerates(t, taint) for t in held):
            return taint
    return None


def intolerable_preferences(pod: PodInfo, taints: Iterable[Mapping[str, Any]]) -> int:
    """How many PreferNoSchedule taints the pod does not tolerate."""
    held = [t for t in tolerations(pod) if not t.get("effect") or t["effect"] in SOFT]
    return sum(t.get("effect") in SOFT and not any(tolerates(h, t) for h in held) for t in taints)
