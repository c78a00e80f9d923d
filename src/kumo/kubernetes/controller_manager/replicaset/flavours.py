"""Where replica sets and the older replication controllers differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import GVR, REPLICASETS


@dataclass(frozen=True, slots=True)
class Flavour:
    """A kind that keeps a number of pods: its resource, how it selects pods, what it reports about them."""

    gvr: GVR
    kind: str
    selector: Callable[[Object], dict[str, Any] | None]
    """The label selector of one of its objects; None if it selects nothing."""
    tells_terminating: bool = True


def _set_selector(obj: Object) -> dict[str, Any] | None:
    selector: dict[str, Any] | None = (obj.get("spec") or {}).get("selector")
    return selector


def _map_selector(obj: Object) -> dict[str, Any] | None:
    labels = (obj.get("spec") or {}).get("selector")
    return {"matchLabels": labels} if labels else None


REPLICA_SETS = Flavour(REPLICASETS, "ReplicaSet", _set_selector)
REPLICATION_CONTROLLERS = Flavour(
    GVR("", "v1", "replicationcontrollers"), "ReplicationController", _map_selector, tells_terminating=False
)
