"""The devices that launcher pods ask for by resource names (upstream: virt-handler's device plugins).

The machine's own nodes may be readable by root only, and QEMU runs as user 107: so virt-handler keeps device nodes of
its own, with mode 0666, and the composition tells the kubelet to hand those to containers.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from kumo.kubevirt.virt_handler.config import VirtHandlerConfig

COUNT = 1000
"""How many of each a node offers (upstream's `--max-devices` default: 1000; real devices are shared)."""


@dataclass(frozen=True, slots=True)
class Device:
    """An extended resource of the node and the device that a container gets for it."""

    resource: str
    host_path: str
    container_path: str
    count: int = COUNT


def make_node(path: Path, original: Path) -> bool:
    """Make a character device at `path` with the numbers of `original`, open to all; False if there is no original."""
    try:
        wanted = original.stat().st_rdev
    except OSError:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != wanted:
            path.unlink()
    if not path.exists():
        os.mknod(path, stat.S_IFCHR | 0o666, wanted)
    path.chmod(0o666)
    return True


def node_devices(config: VirtHandlerConfig, *, kvm: bool) -> list[Device]:
    """Make the nodes that this machine has the drivers for, and say what the kubelet shall offer. Blocks, needs root.

    To be called before the kubelet starts. It also makes the directory that launcher pods mount (`capabilities`).
    `kvm` says whether /dev/kvm really runs guests (`kumo.host.kvm`); without it, it is not offered.
    """
    config.capabilities.mkdir(parents=True, exist_ok=True)
    found = []
    if make_node(config.tun, Path("/dev/net/tun")):
        found.append(Device("devices.kubevirt.io/tun", str(config.tun), "/dev/net/tun"))
    if kvm and make_node(config.kvm, Path("/dev/kvm")):
        found.append(Device("devices.kubevirt.io/kvm", str(config.kvm), "/dev/kvm"))
    vhost = config.tun.with_name("vhost-net")
    if make_node(vhost, Path("/dev/vhost-net")):
        found.append(Device("devices.kubevirt.io/vhost-net", str(vhost), "/dev/vhost-net"))
    return found
