"""Which taints a pod stands: tolerations (core/v1) against taints. Pure.

The scheduler, the kubelet, the DaemonSet controller and the one that evicts from failed nodes judge alike by these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Taint = Mapping[str, Any]
Toleration = Mapping[str, Any]


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether the toleration covers the taint; an empty effect or key stands for all of them.

    `Lt` and `Gt` compare whole numbers where the API server lets them through (a feature that is off by default).
    """
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    mine, its = toleration.get("value") or "", taint.get("value") or ""
    if operator in ("Lt", "Gt"):
        try:
            return int(its) < int(mine) if operator == "Lt" else int(its) > int(mine)
        except ValueError:
            return False
    return bool(operator == "Equal" and mine == its)


def tolerated(taints: Iterable[Taint], held: Sequence[Toleration]) -> bool:
    """Whether every one of the taints is covered by a toleration."""
    return all(any(tolerates(t, taint) for t in held) for taint in taints)
