"""What virt-handler is told at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class VirtHandlerConfig:
    """One node's virt-handler. Times in seconds."""

    node: str
    kubelet_directory: Path
    """The kubelet's directory; pods' volumes are below `pods/<uid>/volumes`."""
    directory: Path
    """virt-handler's own: device nodes, capabilities files, what it must remember of a VMI's network."""
    address: str = ""
    """`host:port` where the composition serves `VirtHandler.handler`; published on the Node for virt-api."""
    heartbeat: float = 60.0
    agent_interval: float = 60.0
    """How often a connected guest agent is asked anew: nothing announces a change inside the guest."""
    machine_types: tuple[str, ...] = ("q35",)

    @property
    def tun(self) -> Path:
        """A /dev/net/tun of our own that an unprivileged QEMU may open."""
        return self.directory / "dev" / "net-tun"

    @property
    def kvm(self) -> Path:
        """Likewise /dev/kvm."""
        return self.directory / "dev" / "kvm"

    @property
    def capabilities(self) -> Path:
        """libvirt's capabilities files for the launchers (`launcher_contract.CAPABILITIES_DIR` in the pod)."""
        return self.directory / "capabilities"

    @property
    def records(self) -> Path:
        """One file a VMI, by its uid."""
        return self.directory / "records"

    def volume(self, pod_uid: str, name: str) -> Path:
        """An emptyDir of a pod, on the node."""
        return self.kubelet_directory / "pods" / pod_uid / "volumes" / "kubernetes.io~empty-dir" / name
