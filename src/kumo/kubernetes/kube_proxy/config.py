"""What a kube-proxy has to know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KubeProxyConfig:
    """One node's kube-proxy. `table` must be the instance's own; so must `service_cidr`, if instances share a machine.

    `bridge` and `gateway` are the pod network's: the node itself reaches Services over them. `cluster_cidr` is the
    range of all nodes' pods: who comes from elsewhere is masqueraded. `mark` is the bit of the packet mark for that.
    """

    table: str
    node_name: str
    service_cidr: str
    cluster_cidr: str
    bridge: str
    gateway: str
    mark: int = 0x4000
