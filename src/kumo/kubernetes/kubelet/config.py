"""What a kubelet is told at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kumo.api.kubernetes_version import GIT_VERSION
from kumo.kubernetes.kubelet.eviction.thresholds import DEFAULT as DEFAULT_EVICTION


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device that a container gets: its path on the host and in the container, permissions of `r`, `w`, `m`."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class DeviceResource:
    """An extended resource: how many the node offers, and what a container that asks for it gets."""

    count: int
    nodes: tuple[DeviceNode, ...]


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """One node's kubelet. Sizes in bytes, times in seconds."""

    node_name: str
    node_ip: str
    directory: Path
    """Pod volumes, logs and the like; everything below it is the kubelet's."""
    cgroup_parent: str
    """The instance's cgroup, below which each pod gets its own: `/kumo-<id>`."""
    port: int = 10250
    """Where the composition serves `Kubelet.handler`; written into the Node."""
    pod_cidr: str = ""
    """The node's range of pod addresses, if it comes with one; else the control plane gives it one."""
    node_ip6: str = ""
    pod_cidr6: str = ""
    """The other family's address and range, if pods have one."""
    version: str = GIT_VERSION
    cluster_dns: tuple[str, ...] = ()
    """Addresses of the cluster's DNS; empty: pods get the node's resolv.conf."""
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, DeviceResource] = field(default_factory=dict)
    """Extended resource name -> what it is."""
    max_pods: int = 110
    reserved_cpu_milli: int = 0
    reserved_memory: int = 100 << 20
    """Kept back from capacity for the system and for the eviction threshold (upstream's default: 100 MiB)."""
    lease_seconds: float = 10.0
    status_seconds: float = 300.0
    resync_seconds: float = 60.0
    """How often mounted configmaps, secrets and tokens are looked at anew."""
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5
    crash_backoff_base: float = 10.0
    crash_backoff_ceiling: float = 300.0
    pull_backoff_base: float = 10.0
    pull_backoff_ceiling: float = 300.0
    eviction_hard: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_EVICTION))
    """Signals and what there must be of each, as upstream's `evictionHard`."""
    eviction_interval: float = 10.0
    pressure_seconds: float = 300.0
    """How long a condition of pressure outlasts its cause."""

    @property
    def node_ips(self) -> tuple[str, ...]:
        """The node's addresses, IPv4 first."""
        return (self.node_ip, self.node_ip6) if self.node_ip6 else (self.node_ip,)

    @property
    def pod_cidrs(self) -> list[str]:
        """The node's ranges of pod addresses, IPv4 first."""
        return [c for c in (self.pod_cidr, self.pod_cidr6) if c]

    @property
    def pods_directory(self) -> Path:
        """One directory a pod, named by its uid."""
        return self.directory / "pods"

    @property
    def manifests_directory(self) -> Path:
        """Manifests of static pods."""
        return self.directory / "manifests"

    @property
    def logs_directory(self) -> Path:
        """One directory a pod: `<namespace>_<name>_<uid>`."""
        return self.directory / "logs"
