"""What a client may ask of a listener, and how long it may leave it waiting."""

from __future__ import annotations

import resource
from dataclasses import dataclass

_SPARE = 512
"""Descriptors that are left for everything else."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask for. Sizes in bytes, times in seconds. Handlers limit bodies (`Request.read`)."""

    line: int = 65536
    header: int = 65536
    headers: int = 128
    first: float = 32.0
    """How long a new connection may take to send the head of its first request."""
    idle: float = 90.0
    """How long a connection may rest between requests, and a later request's head may take."""
    handshake: float = 10.0
    body: float = 60.0
    """How long a request's body may pause."""
    stall: float = 60.0
    """How long a client may read nothing of what waits for it."""
    linger: float = 5.0
    read_buffer: int = 65536
    connections: int = 16384

    @property
    def most_connections(self) -> int:
        """`connections`, or as many as this process has descriptors for."""
        found = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return self.connections if found == resource.RLIM_INFINITY else min(self.connections, max(16, found - _SPARE))
