"""Replica sets of a deployment as plain values, and how many pods a strategy may add or miss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

from kumo.api.objects import Object, annotations_of, name_of, uid_of

REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
DEFAULT_SHARE = "25%"


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Set:
    """What a rollout looks at of one replica set; `wanted` is `spec.replicas`, the counts are its status."""

    name: str
    uid: str
    created: str
    revision: int
    wanted: int
    replicas: int
    ready: int
    available: int
    desired: int | None
    maximum: int | None
    observed: bool
    object: Object

    @classmethod
    def of(cls, obj: Object) -> Set:
        """The value of a replica set."""
        meta, status, notes = obj["metadata"], obj.get("status") or {}, annotations_of(obj)
        return cls(
            name=name_of(obj),
            uid=uid_of(obj),
            created=meta.get("creationTimestamp") or "",
            revision=_number(notes.get(REVISION)) or 0,
            wanted=int(obj["spec"].get("replicas", 1)),
            replicas=int(status.get("replicas") or 0),
            ready=int(status.get("readyReplicas") or 0),
            available=int(status.get("availableReplicas") or 0),
            desired=_number(notes.get(DESIRED)),
            maximum=_number(notes.get(MAX)),
            observed=int(meta.get("generation") or 0) <= int(status.get("observedGeneration") or 0),
            object=obj,
        )

    def scaled(self, wanted: int) -> Set:
        """The same set with another wanted size."""
        return replace(self, wanted=wanted)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a rolling update may go over and under the wanted number of pods."""

    surge: int
    unavailable: int


def limits(deployment: Object) -> Limits:
    """The strategy's limits as numbers: surge rounded up, unavailable down, never both zero; none for Recreate."""
    spec = deployment["spec"]
    strategy: dict[str, Any] = spec.get("strategy") or {}
    if not is_rolling(deployment):
        return Limits(0, 0)
    rolling, replicas = strategy.get("rollingUpdate") or {}, wanted(deployment)
    surge = _share(rolling.get("maxSurge", DEFAULT_SHARE), replicas, up=True)
    unavailable = _share(rolling.get("maxUnavailable", DEFAULT_SHARE), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(surge, min(unavailable, replicas) if replicas else unavailable)


def _share(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    if value.endswith("%"):
        exact = int(value[:-1]) * total / 100
        return ceil(exact) if up else floor(exact)
    return int(value)


def is_rolling(deployment: Object) -> bool:
    """Whether the strategy is RollingUpdate."""
    return ((deployment["spec"].get("strategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate"


def wanted(deployment: Object) -> int:
    """`spec.replicas`, 1 by default."""
    return int(deployment["spec"].get("replicas", 1))
