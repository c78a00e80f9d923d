"""The node's engines as this instance configures them: one place for the command, the node and the clean-up."""

from __future__ import annotations

from pathlib import Path

from kumo.cli.addresses import cni_bin
from kumo.cli.instance import Instance, InstanceError
from kumo.cli.own_address import node_address6
from kumo.host.containerd.config import ContainerdConfig
from kumo.host.network.config import OVERHEAD, OVERHEAD6, OverlayConfig, PodNetworkConfig

SANDBOX_IMAGE = "kumo.dev/pause:1"
"""The image of every pod's sandbox; the node imports it at start, nobody pulls it."""


def containerd(instance: Instance) -> ContainerdConfig:
    """The instance's own containerd."""
    directory = instance.containerd_dir
    return ContainerdConfig(
        directory=directory,
        cni_conf_dir=Path(instance.cni_conf) if instance.cni_conf else directory / "cni" / "conf",
        cni_bin_dir=cni_bin() if instance.cni_conf else directory / "cni" / "bin",
        sandbox_image=SANDBOX_IMAGE,
        mirrors=instance.mirrors,
    )


def capabilities(instance: Instance) -> Path:
    """What libvirt knows of this node, for all launchers."""
    return instance.node_dir / "virt-handler" / "capabilities"


def pod_network(instance: Instance) -> PodNetworkConfig:
    """The instance's pod network on this node."""
    return PodNetworkConfig(
        bridge=instance.bridge,
        pod_cidr=instance.node_pod_cidr,
        table=f"{instance.table_prefix}-pods",
        directory=instance.node_dir / "network",
        cluster_cidr=instance.pod_cidr,
        headroom=OVERHEAD6 if instance.overlay_family else OVERHEAD,
        pod_cidr6=instance.node_pod_cidr6,
        cluster_cidr6=instance.pod_cidr6,
    )


def overlay(instance: Instance, vni: int) -> OverlayConfig:
    """The instance's way to the other nodes' pods; `vni` is the number of the cluster's network."""
    return OverlayConfig(
        device=instance.overlay,
        vni=vni,
        address=_underlay6() if instance.overlay_family else instance.address,
        pod_cidr=instance.node_pod_cidr,
        cluster_cidr=instance.pod_cidr,
        bridge=instance.bridge,
        cluster_cidr6=instance.pod_cidr6,
    )


def _underlay6() -> str:
    """The machine's IPv6 address. Raises InstanceError."""
    found = node_address6()
    if not found:
        raise InstanceError(
            "this cloud's nodes reach each other by IPv6 (--overlay-family), and this machine has no IPv6 address that "
            "a default route leads from"
        )
    return found


def native_binary(name: str) -> Path:
    """A static program that `make setup` has built."""
    import kumo.host

    return Path(kumo.host.__file__).parent / "native" / "bin" / name
