"""What an instance has put into the kernel, found by its names and taken away, whoever still runs or was killed.

Works without any of the instance's processes: it reads /proc, /sys/fs/cgroup and the instance's own files.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from kumo.cli import engines
from kumo.cli.instance import Instance
from kumo.host import mounts
from kumo.host.delegation import unit_group
from kumo.kubernetes.ingress.settings import CONFIGURATION

_CGROUPS = Path("/sys/fs/cgroup")
_END_SECONDS = 10.0


def cgroup_directories(instance: Instance) -> list[Path]:
    """The instance's cgroup in each hierarchy (one in v2, one a controller in v1), and its pods' unit of systemd."""
    roots = [_CGROUPS, *(p for p in _CGROUPS.iterdir() if p.is_dir() and not p.is_symlink())]
    names = (f"kumo-{instance.id}", unit_group(instance.id).lstrip("/"))
    return [r / name for r in roots for name in names if (r / name).is_dir()]


def _cgroup_pids(instance: Instance) -> Iterator[int]:
    for directory in cgroup_directories(instance):
        for path in directory.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                yield from (int(p) for p in path.read_text().split())


def _processes_naming(text: bytes) -> Iterator[int]:
    """Processes with `text` among their arguments (containerd's shims name its socket)."""
    return (pid for pid, argv in _command_lines() if text in argv)


def _command_lines() -> Iterator[tuple[int, list[bytes]]]:
    """Pid and arguments of every process but this one."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().split(b"\0")


def end_processes(pids: Iterable[int]) -> None:
    """Kill the processes and wait until they are gone."""
    waiting = select.poll()
    descriptors = []
    for pid in set(pids):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            descriptors.append(descriptor)
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            waiting.register(descriptor, select.POLLIN)
    left = set(descriptors)
    while left:
        ended = waiting.poll(_END_SECONDS * 1000)
        if not ended:
            break
        for descriptor, _ in ended:
            waiting.unregister(descriptor)
            left.discard(descriptor)
    for descriptor in descriptors:
        os.close(descriptor)


def _shim_sockets(instance: Instance) -> list[Path]:
    """The sockets of the pods' shims, which lie outside the data directory; each pod's bundle names its own."""
    found = []
    for address in (instance.containerd_dir / "state").glob("*/*/*/address"):
        with contextlib.suppress(OSError):
            found.append(Path(address.read_text().strip().removeprefix("unix://")))
    return found


def namespaces(instance: Instance) -> list[Path]:
    """The network namespaces of the instance's pods, by its record of addresses."""
    path = engines.pod_network(instance).leases
    with contextlib.suppress(OSError, ValueError, KeyError):
        return [Path(lease["netns"]) for lease in json.loads(path.read_text())["leases"]]
    return []


def daemons(instance: Instance) -> list[int]:
    """The instance's processes other than pods', supervised or not: control plane, node, containerd, haproxy."""
    directory = os.fsencode(instance.data_dir)
    settings = os.fsencode(str(engines.containerd(instance).file))
    modules = (b"kumo.cli.control_plane", b"kumo.cli.node")
    balancer = os.fsencode(str(instance.node_dir / "ingress" / CONFIGURATION))
    return [
        pid
        for pid, argv in _command_lines()
        if (directory in argv and any(m in argv for m in modules))
        or (settings in argv and b"--config" in argv)
        or balancer in argv
    ]


def end_daemons(instance: Instance, *, grace: float = 5.0) -> None:
    """Wait `grace` seconds for processes whose supervisor died to end, as they were told to; then kill them."""
    waiting = select.poll()
    descriptors = []
    for pid in (left := daemons(instance)):
        with contextlib.suppress(ProcessLookupError):
            descriptors.append(os.pidfd_open(pid))
            waiting.register(descriptors[-1], select.POLLIN)
    deadline = time.monotonic() + grace
    running = set(descriptors)
    while running and (ended := waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)):
        for descriptor, _ in ended:
            waiting.unregister(descriptor)
            running.discard(descriptor)
    for descriptor in descriptors:
        os.close(descriptor)
    if running:
        end_processes(left)


def remove_namespace(path: Path) -> None:
    """Take away a network namespace that is kept by a mount."""
    with contextlib.suppress(OSError):
        mounts.unmount(path, lazy=True)
    path.unlink(missing_ok=True)


def lend(instance: Instance) -> None:
    """Let launchers find libvirt's capabilities where the cluster's control plane tells them to look."""
    own, wanted = engines.capabilities(instance), Path(instance.cluster_capabilities)
    if instance.cluster_capabilities and wanted != own and not wanted.exists():
        with contextlib.suppress(OSError):
            wanted.parent.mkdir(parents=True, exist_ok=True)
            wanted.symlink_to(own)


def _take_back(instance: Instance) -> None:
    """Undo `lend`, if what is there is ours."""
    wanted = Path(instance.cluster_capabilities)
    with contextlib.suppress(OSError):
        if instance.cluster_capabilities and wanted.readlink() == engines.capabilities(instance):
            wanted.unlink()
            for folder in list(wanted.parents)[:3]:
                folder.rmdir()


def end_pods(instance: Instance) -> None:
    """End every container and virtual machine of the instance at once, and their shims."""
    socket = os.fsencode(str(engines.containerd(instance).socket))
    for _ in range(3):  # a shim that saw its container die may still have been starting another
        pids = {*_cgroup_pids(instance), *_processes_naming(socket)}
        if not pids:
            break
        end_processes(pids)


def remove(instance: Instance) -> None:
    """Take away all of it: processes, mounts, namespaces, links, rules, cgroups, files. Idempotent."""
    from kumo.host import loop
    from kumo.host.network.agent import PodNetwork  # netlink is loaded where something is removed, not at every start
    from kumo.host.network.links import Links
    from kumo.host.nftables import Nft
    from kumo.kubevirt.virt_handler.capabilities import remove_scratch

    sockets, spaces = _shim_sockets(instance), namespaces(instance)
    end_pods(instance)
    network = PodNetwork(engines.pod_network(instance))
    network.remove()
    with Links() as links:
        links.delete(instance.overlay)
    for path in spaces:
        remove_namespace(path)
    nft = Nft()
    for family, table in nft.tables():
        if table.startswith(f"{instance.table_prefix}-"):
            nft.delete_table(family, table)
    remove_scratch(engines.capabilities(instance))
    _take_back(instance)
    for path in instance.root.iterdir():
        mounts.unmount_below(path)
    for device in loop.attached_below(instance.root):
        with contextlib.suppress(OSError):
            loop.detach(device)
    for socket in sockets:
        socket.unlink(missing_ok=True)
    for directory in cgroup_directories(instance):
        for folder, _, _ in os.walk(directory, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    if not instance.root.is_mount():
        shutil.rmtree(instance.root)
        return
    for path in instance.root.iterdir():  # a disk of its own: empty, and still mounted
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
