"""Facts about this machine that decide whether and how a cloud can run on it, each with its fix.

`kumo doctor` shows all of them; `kumo up` refuses on those that are faults. Every check reads, none changes anything.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from kumo.cli.instance import SOCKET_PATH_LIMIT, Instance

Level = Literal["ok", "note", "fault"]

_PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "libvirtd": "libvirt-daemon",
}
_MODULES = {"libvirt": "python3-libvirt", "nftables": "python3-nftables"}
_GENERATED = (
    "api/data",
    "host/containerd/stubs",
    "host/native/bin",
    "kubernetes/apiserver/protobuf/fields.txt",
    "store/etcd/stubs",
)
_NODE_SOCKET = "node/plugins_registry/local.csi.kumo.dev-reg.sock"
"""The longest path of a socket that a node makes."""
_FREE_BYTES = 2 * 1024**3
_FREE_BYTES_TO_GO_ON = 64 * 1024**2


class Fact(NamedTuple):
    """One fact: what was looked at, what was found, whether that is a fault, and the command or deed that cures it."""

    name: str
    level: Level
    found: str
    fix: str = ""


def user() -> Fact:
    """Whether we are root, who alone can make namespaces, bridges and cgroups."""
    if os.geteuid() == 0:
        return Fact("user", "ok", "root")
    return Fact("user", "fault", f"uid {os.geteuid()}, not root", "run it as root: sudo kumo ...")


def kernel() -> Fact:
    """The kernel, and the architecture that images must be made for."""
    machine = platform.machine()
    found = f"Linux {platform.release()} on {machine}"
    if machine != "x86_64":
        return Fact("kernel", "fault", found, "kumo runs on x86_64 so far")
    return Fact("kernel", "ok", found)


def cgroups() -> Fact:
    """Which cgroup hierarchy the machine has; both are supported."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return Fact("cgroups", "ok", "v2")
    missing = [c for c in ("cpu", "memory", "pids") if not Path("/sys/fs/cgroup", c).is_dir()]
    if missing:
        return Fact(
            "cgroups",
            "fault",
            f"v1 without {', '.join(missing)}",
            "mount the cgroup hierarchies: apt install cgroupfs-mount",
        )
    return Fact("cgroups", "ok", "v1")


def programs() -> Iterator[Fact]:
    """The programs that kumo drives."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin"])
    for program, package in _PROGRAMS.items():
        where = shutil.which(program, path=path)
        if where is None:
            yield Fact(program, "fault", "not installed", f"apt-get install {package}")
        else:
            found, works = _version(where)
            fix = "" if works else f"apt-get install --reinstall {package}"
            yield Fact(program, "ok" if works else "fault", found, fix)
    for module, package in _MODULES.items():
        if importlib.util.find_spec(module) is None:
            yield Fact(package, "fault", "not installed, or not visible here", f"apt-get install {package}")


def _version(program: str) -> tuple[str, bool]:
    """What the program says of its version, and whether it runs at all."""
    try:
        option = "-V" if program.endswith("/ip") else "--version"
        answer = subprocess.run([program, option], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not run: {error}", False
    lines = (answer.stdout or answer.stderr).strip().splitlines()
    if answer.returncode:
        return (
            f"{program} does not run (exit code {answer.returncode}): {lines[0] if lines else 'it says nothing'}",
            False,
        )
    return lines[0] if lines else program, True


def virtualization() -> Fact:
    """Whether guests run on the processor (KVM) or in software (TCG)."""
    from kumo.host.kvm import probe  # the probe starts a process: only when asked

    result = probe()
    if result.usable:
        return Fact("virtualization", "ok", "KVM")
    fix = "enable virtualization in the firmware (or nesting in the outer hypervisor) for KVM"
    return Fact("virtualization", "note", f"no usable KVM ({result.reason}): VMs run in software (TCG), slower", fix)


def tun() -> Fact:
    """Whether the kernel has TUN/TAP devices, which VMs' interfaces are."""
    if Path("/dev/net/tun").exists():
        return Fact("tun", "ok", "/dev/net/tun")
    return Fact("tun", "fault", "/dev/net/tun is missing", "modprobe tun")


def bridged_packets() -> Fact:
    """Whether packets between pods of one node pass the rules of services and policies (the agent loads the module)."""
    from kumo.host import modules

    if Path("/proc/sys/net/bridge").is_dir() or modules.available("br_netfilter"):
        return Fact("bridge", "ok", "packets between the pods of one node can be filtered")
    found = "the kernel has no br_netfilter: between pods of one node services and network policies don't work"
    return Fact("bridge", "note", found, "a kernel with the module br_netfilter (CONFIG_BRIDGE_NETFILTER)")


def disk(data_dir: Path) -> Fact:
    """How much room there is where the instance lives: a new one needs more than one that only goes on."""
    where = data_dir
    while not where.exists():
        where = where.parent
    free = shutil.disk_usage(where).free
    found = f"{free / 1024**3:.1f} GiB free for {data_dir}"
    if free < _FREE_BYTES:
        exists = (data_dir / "instance.json").exists()
        level: Level = "note" if exists and free >= _FREE_BYTES_TO_GO_ON else "fault"
        other = "" if exists else ", or choose another --data-dir"
        return Fact("disk", level, found, f"free some space (at least {_FREE_BYTES >> 30} GiB){other}")
    return Fact("disk", "ok", found)


def sockets(data_dir: Path) -> Fact:
    """Whether the paths of a node's sockets below the data directory are short enough for the kernel."""
    most = SOCKET_PATH_LIMIT - len(f"/{_NODE_SOCKET}")
    length = len(os.fsencode(data_dir))
    if length > most:
        found = f"{data_dir} has {length} bytes; with more than {most}, a node's sockets have too long paths"
        return Fact("data directory", "fault", found, "choose a shorter --data-dir")
    return Fact("data directory", "ok", str(data_dir))


def memory() -> Fact:
    """How much memory there is."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{total / 1024**3:.1f} GiB, {os.cpu_count()} processors"
    if total < 2 * 1024**3:
        return Fact("memory", "note", found, "2 GiB is the least for a VM beside the cloud itself")
    return Fact("memory", "ok", found)


def port_free(port: int, name: str, option: str) -> Fact:
    """Whether nobody listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            return Fact(name, "fault", f"port {port}: {error.strerror}", f"end what listens there, or choose {option}")
    return Fact(name, "ok", f"port {port} is free")


def generated_files() -> Fact:
    """Whether the files that `make setup` makes are there."""
    package = Path(__file__).parent.parent
    missing = [p for p in _GENERATED if not (package / p).exists()]
    if missing:
        return Fact("package", "fault", f"{', '.join(missing)} not built", "run 'make setup'")
    return Fact("package", "ok", "complete")


def before_up(instance: Instance, *, node: bool) -> Iterator[Fact]:
    """What must hold before the instance's processes start."""
    yield user()
    yield generated_files()
    yield disk(instance.root)
    if not instance.joined:
        yield port_free(instance.port, "API server", "another --port")
    if node:
        yield kernel()
        yield sockets(instance.root)
        yield cgroups()
        yield from programs()
        yield tun()
        yield port_free(instance.node_port, "node", "another --port")


def all_facts(data_dir: Path, ports: tuple[int, int] | None) -> Iterator[Fact]:
    """Everything that `kumo doctor` tells; `ports` are looked at only while the instance does not run."""
    yield user()
    yield kernel()
    yield memory()
    yield disk(data_dir)
    yield sockets(data_dir)
    yield cgroups()
    yield generated_files()
    yield from programs()
    yield tun()
    yield bridged_packets()
    yield virtualization()
    if ports is not None:
        if ports[0]:  # A machine that has joined has no API server.
            yield port_free(ports[0], "API server", "another --port")
        yield port_free(ports[1], "node", "another --port")
