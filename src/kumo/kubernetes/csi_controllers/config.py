"""What a driver's controllers are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CsiControllersConfig:
    """One driver, at the unix socket `socket`.

    `node`: the node that the driver serves alone; empty for a driver that serves the whole cluster. `namespace`: where
    its CSIStorageCapacity objects are. Times are in seconds: `timeout` of a call to the driver, `retry` the first delay
    after a failure (they double) and `longest_retry` the last, `infeasible` the one after what can't ever succeed,
    `capacity_period` how often the room is asked for while nothing happens.
    """

    socket: str
    node: str = ""
    namespace: str = "kube-system"
    timeout: float = 60.0
    retry: float = 1.0
    longest_retry: float = 300.0
    infeasible: float = 300.0
    capacity_period: float = 60.0
    default_fs_type: str = ""
    extra_metadata: bool = False
    """Tell the driver the names of the claim and the volume, or of the snapshot and its content."""
    workers: int = 8
