"""What a kubelet is told at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kumo.api.kubernetes_version import GIT_VERSION
from kumo.kubernetes.kubelet.eviction.thresholds import DEFAULT as DEFAULT_EVICTION
from kumo.kubernetes.kubelet.placement.options import PlacementSettings
from kumo.kubernetes.kubelet.pulls.puller import PullLimits
from kumo.kubernetes.kubelet.pulls.verification import PRELOADED
from kumo.kubernetes.kubelet.unified import MemoryPolicy


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
    pods_per_core: int = 0
    """0: `max_pods` alone counts."""
    pod_pids_limit: int = -1
    """How many processes a pod may have; -1: as many as the node."""
    reserved: Mapping[str, str] = field(default_factory=dict)
    """Quantities kept back from capacity for the system and the node's daemons: cpu, memory, ephemeral-storage, pid."""
    enforce_allocatable: bool = True
    """Whether all pods together are held to what is not reserved, by their control group."""
    lease_seconds: float = 10.0
    status_seconds: float = 300.0
    resync_seconds: float = 60.0
    """How often mounted configmaps, secrets and tokens are looked at anew."""
    sizes_seconds: float = 60.0
    """How long the size of a volume's directory counts as known."""
    manifests_seconds: float = 20.0
    """How often the directory of manifests is read even if nothing was noticed."""
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5
    log_check_seconds: float = 10.0
    crash_backoff_base: float = 10.0
    crash_backoff_ceiling: float = 300.0
    pull_backoff_base: float = 10.0
    pull_backoff_ceiling: float = 300.0
    pull_limits: PullLimits = field(default_factory=PullLimits)
    """How many images are pulled at once, and how often (`serializeImagePulls`, `registryPullQPS`, ...)."""
    pull_verification: str = PRELOADED
    """Who may use images that are here already (`imagePullCredentialsVerificationPolicy`)."""
    pull_allowlist: tuple[str, ...] = ()
    """For `NeverVerifyAllowlistedImages`: names without tags, or prefixes (`host/path/*`)."""
    eviction_hard: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_EVICTION))
    """Signals and what there must be of each, as upstream's `evictionHard`."""
    eviction_soft: Mapping[str, str] = field(default_factory=dict)
    eviction_soft_grace: Mapping[str, str] = field(default_factory=dict)
    """For how long (a duration) a soft threshold must have been met, by signal."""
    eviction_minimum_reclaim: Mapping[str, str] = field(default_factory=dict)
    eviction_most_grace: float = 0.0
    """Seconds that a pod has at most to end for a soft threshold."""
    eviction_interval: float = 10.0
    pressure_seconds: float = 300.0
    """How long a condition of pressure outlasts its cause."""
    image_high_percent: int = 85
    image_low_percent: int = 80
    image_minimum_age: float = 120.0
    image_maximum_age: float = 0.0
    """Seconds after which an image that nobody uses goes in any case; 0: never."""
    max_images: int = 50
    """How many images the Node's status names; -1: all."""
    allowed_sysctls: tuple[str, ...] = ()
    """Names and patterns beside the safe ones (`allowedUnsafeSysctls`)."""
    seccomp_default: bool = False
    """Whether containers that say nothing of seccomp get the runtime's profile."""
    memory_policy: MemoryPolicy = field(default_factory=MemoryPolicy)
    """Which processes the kernel kills together, and who may be swapped out."""
    register: bool = True
    """Whether the kubelet makes its Node; else somebody else does."""
    taints: tuple[Mapping[str, str], ...] = ()
    """What the Node is made with."""
    provider_id: str = ""
    shutdown: tuple[tuple[int, int], ...] = ()
    """Priorities, ascending, and how many seconds pods of each (and above it) have when the machine is shut down."""
    system_bus: str = ""
    """The address of the bus where logind is; empty for the machine's."""
    logind_override: Path = Path("/etc/systemd/logind.conf.d/99-kubelet.conf")
    """The file that tells logind to wait as long as `shutdown` says."""
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    """The CPU, Memory and Topology Manager."""
    manifests: Path | None = None
    """Another directory of static pods' manifests than the kubelet's own."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """The KubeletConfiguration that was given, with all defaults; `/configz` shows it."""

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
        return self.manifests or self.directory / "manifests"

    @property
    def logs_directory(self) -> Path:
        """One directory a pod: `<namespace>_<name>_<uid>`."""
        return self.directory / "logs"
