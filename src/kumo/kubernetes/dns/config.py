"""What a cluster DNS has to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ClusterDnsConfig:
    """One node's DNS server.

    It listens at `address` (the pod network's gateway, which pods can reach), on `port` or, if another program has
    that, on any free one: pods ask the Service at `service_address`, and kube-proxy knows the port. Names in `zone` and
    in the reverse zones of `own_ranges` are never asked upstream. `ttl` is in seconds. `resolv_conf` names the upstream
    servers.
    """

    address: str
    service_address: str
    node_name: str
    port: int = 53
    zone: str = "cluster.local"
    own_ranges: tuple[str, ...] = ()
    ttl: int = 30
    resolv_conf: Path = Path("/etc/resolv.conf")
    metrics: str = ""
    """Where `/metrics`, `/health` and `/ready` are served (`host:port`), or nowhere."""

    @property
    def metrics_port(self) -> int:
        """The port of the figures, 0 without them."""
        return int(self.metrics.rpartition(":")[2] or 0)
