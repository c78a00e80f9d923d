"""What the driver is told at start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from kumo.api.node_components import LOCAL_DRIVER, LOCAL_TOPOLOGY

DRIVER = LOCAL_DRIVER
TOPOLOGY = LOCAL_TOPOLOGY
"""The topology key: a volume is on one node."""
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class LocalCsiConfig:
    """One node's driver."""

    node_name: str
    directory: Path
    """Where volumes and snapshots are kept; everything below it is the driver's."""
    socket: Path
    """Where CSI is served: unix, at most 107 bytes."""
    registration: Path | None = None
    """The socket by which the kubelet learns of the driver; None: nobody is told."""
    max_volumes: int = 0
    """Volumes that may be published on the node at a time; 0: as many as there are."""

    @property
    def place(self) -> str:
        """How the node is called in the ids of volumes: its name, or a digest of a long one."""
        name = self.node_name
        return name if len(name) <= _LONGEST else hashlib.sha256(name.encode()).hexdigest()[:32]
