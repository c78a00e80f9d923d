"""What a fleet of hollow nodes looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kumo.api.kubernetes_version import VERSION

RUN_SECONDS = "kumo.dev/hollow-run-seconds"
"""On a pod: its containers end so many seconds after they have started (unless it restarts always)."""
EXIT_CODE = "kumo.dev/hollow-exit-code"
"""On a pod: what its containers end with. Default 0."""
START_SECONDS = "kumo.dev/hollow-start-seconds"
"""On a pod: it takes so long to start."""
STOP_SECONDS = "kumo.dev/hollow-stop-seconds"
"""On a pod: it takes so long to end when it is deleted, at most its grace period."""
READY = "kumo.dev/hollow-ready"
"""On a pod: `false` if its containers run without ever being ready."""
SILENT = "kumo.dev/hollow-silent"
"""On a Node: `true` and nothing more is heard of it, as if it had lost its power."""


@dataclass(frozen=True, slots=True)
class HollowConfig:
    """`count` nodes named `prefix` and a number from `first` on.

    `capacity` are quantities by resource. Values of `labels` are lists: the nodes take turns, so that
    `{"topology.kubernetes.io/zone": ("a", "b")}` makes two zones. `taints` are those of core/v1. The periods are those
    of the kubelet: a lease is renewed every 10 s and counts for 40, the status is written every 5 minutes.
    """

    count: int = 1
    prefix: str = "hollow-"
    first: int = 0
    capacity: Mapping[str, str] = field(
        default_factory=lambda: {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110"}
    )
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    lease_seconds: float = 10.0
    status_seconds: float = 300.0
    run_seconds: float | None = None
    """How long the containers of pods run that do not restart always and have no annotation; None: for ever."""
    version: str = VERSION

    def names(self) -> list[str]:
        """The nodes' names."""
        return [f"{self.prefix}{i}" for i in range(self.first, self.first + self.count)]
