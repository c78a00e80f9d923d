"""The cluster's settings, read from the KubeVirt object: `spec.configuration` with upstream's defaults filled in.

A small frozen value, made anew whenever the object changes, so that every decision of virt-api and virt-controller sees
one consistent set and obeys a change at once. Source: `pkg/virt-config`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from kumo.api.objects import Object
from kumo.api.quantities import parse

BETA_GATES = frozenset(
    {
        "ImageVolume", "Snapshot", "WorkloadEncryptionSEV", "KubevirtSeccompProfile", "NodeRestriction", "GPUsWithDRA",
        "HostDevicesWithDRA", "DecentralizedLiveMigration", "DeclarativeHotplugVolumes", "PasstBinding",
        "PodSecondaryInterfaceNamingUpgrade", "ExternalNetResourceInjection", "RebootPolicy", "Template",
        "OptOutRoleAggregation",
    }
)  # fmt: skip
"""Feature gates that are on unless `disabledFeatureGates` names them."""

EMULATED_MACHINES = {"amd64": ("q35*", "pc-q35*"), "arm64": ("virt*",), "s390x": ("s390-ccw-virtio*",)}
MACHINE_TYPES = {"amd64": "q35", "arm64": "virt", "s390x": "s390-ccw-virtio"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "s390x": "s390x"}


def host_architecture() -> str:
    """This machine's architecture as KubeVirt and Kubernetes call it."""
    return _ARCHITECTURES.get(platform.machine(), "amd64")


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What `spec.configuration` of the KubeVirt object says; the defaults here are upstream's."""

    use_emulation: bool = False
    cpu_allocation_ratio: int = 10
    memory_overcommit: int = 100
    """Percent: 200 lets the pods of the VMs request half of the guests' memory."""
    overhead_ratio: Fraction = Fraction(1)
    """`additionalGuestMemoryOverheadRatio`: the computed overhead is multiplied by it."""
    feature_gates: frozenset[str] = BETA_GATES
    default_network_interface: str = "bridge"
    permit_bridge_on_pod_network: bool = True
    eviction_strategy: str = "None"
    default_runtime_class: str = ""
    cpu_model: str = ""
    cpu_request: str = "100m"
    default_architecture: str = field(default_factory=host_architecture)
    machine_types: Mapping[str, str] = field(default_factory=lambda: dict(MACHINE_TYPES))
    emulated_machines: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(EMULATED_MACHINES))
    image_pull_policy: str = "IfNotPresent"
    node_selectors: Mapping[str, str] = field(default_factory=dict)
    live_update: bool = True
    """`vmRolloutStrategy`: LiveUpdate (the default), or Stage."""
    max_hotplug_ratio: int = 4
    max_cpu_sockets: int = 0
    max_guest: str = ""
    disable_serial_console_log: bool = False
    disk_memory_limit: int = 2000 * 1024 * 1024
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Annotations of the KubeVirt object."""

    def gate(self, name: str) -> bool:
        """Whether that feature gate is on."""
        return name in self.feature_gates

    def machine_type(self, architecture: str) -> str:
        """The machine type that a VM of that architecture gets by default."""
        return self.machine_types.get(architecture) or self.machine_types.get("amd64", "q35")

    def supported_machines(self, architecture: str) -> tuple[str, ...]:
        """Patterns of the machine types that a VM of that architecture may have."""
        return self.emulated_machines.get(architecture) or self.emulated_machines.get("amd64", ())

    @classmethod
    def from_kubevirt(cls, kubevirt: Object | None) -> ClusterConfig:
        """The settings that the KubeVirt object asks for; upstream's defaults for what it leaves out, or without one.

        Raises ValueError or TypeError when a value makes no sense; the caller keeps the last good settings then.
        """
        spec = ((kubevirt or {}).get("spec") or {}).get("configuration") or {}
        developer = spec.get("developerConfiguration") or {}
        network = spec.get("network") or {}
        live = spec.get("liveUpdateConfiguration") or {}
        options = spec.get("virtualMachineOptions") or {}
        named = frozenset(developer.get("featureGates") or ())
        machines, emulated = _machines(spec)
        limit = (developer.get("diskVerification") or {}).get("memoryLimit")
        architectures = spec.get("architectureConfiguration") or {}
        return cls(
            use_emulation=bool(developer.get("useEmulation", False)),
            cpu_allocation_ratio=_positive(developer.get("cpuAllocationRatio"), 10),
            memory_overcommit=_positive(developer.get("memoryOvercommit"), 100),
            overhead_ratio=Fraction(str(spec.get("additionalGuestMemoryOverheadRatio") or "1")),
            feature_gates=(BETA_GATES | named) - frozenset(developer.get("disabledFeatureGates") or ()),
            default_network_interface=network.get("defaultNetworkInterface") or "bridge",
            permit_bridge_on_pod_network=bool(network.get("permitBridgeInterfaceOnPodNetwork", True)),
            eviction_strategy=spec.get("evictionStrategy") or "None",
            default_runtime_class=spec.get("defaultRuntimeClass") or "",
            cpu_model=spec.get("cpuModel") or "",
            cpu_request=str(spec.get("cpuRequest") or "100m"),
            default_architecture=architectures.get("defaultArchitecture") or host_architecture(),
            machine_types=machines,
            emulated_machines=emulated,
            image_pull_policy=spec.get("imagePullPolicy") or "IfNotPresent",
            node_selectors=dict(developer.get("nodeSelectors") or {}),
            live_update=(spec.get("vmRolloutStrategy") or "LiveUpdate") == "LiveUpdate",
            max_hotplug_ratio=_positive(live.get("maxHotplugRatio"), 4),
            max_cpu_sockets=int(live.get("maxCpuSockets") or 0),
            max_guest=str(live.get("maxGuest") or ""),
            disable_serial_console_log=options.get("disableSerialConsoleLog") is not None,
            disk_memory_limit=int(parse(limit)) if limit else 2000 * 1024 * 1024,
            annotations=dict(((kubevirt or {}).get("metadata") or {}).get("annotations") or {}),
        )


def _positive(value: Any, default: int) -> int:
    number = int(value or 0)
    return number if number > 0 else default


def _machines(spec: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    machines, emulated = dict(MACHINE_TYPES), dict(EMULATED_MACHINES)
    if spec.get("machineType"):
        machines["amd64"] = spec["machineType"]
    if spec.get("emulatedMachines"):
        emulated["amd64"] = tuple(spec["emulatedMachines"])
    for architecture, settings in (spec.get("architectureConfiguration") or {}).items():
        if isinstance(settings, dict):
            machines[architecture] = settings.get("machineType") or machines.get(architecture, "")
            emulated[architecture] = tuple(settings.get("emulatedMachines") or emulated.get(architecture, ()))
    return machines, emulated
