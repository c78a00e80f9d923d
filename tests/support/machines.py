"""Several machines on this one: a network namespace, a data directory and a kumo for each, one switch between them.

Nothing of it touches this machine's own network: the switch is a bridge in a namespace of its own. cgroups and files
are shared, which is why each machine's kumo has a data directory (and so names) of its own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kumo.cli.leftovers import end_processes
from kumo.host.containerd.archive import BuiltImage
from support.cloud import DISK_IMAGE, ROOT, Cloud, fresh

NETWORK = "198.18.77"
NETWORK6 = "fd77:18::"
PORT = 6443
_BUSYBOX = "docker.io/library/busybox:latest"
_CACHE = ROOT / ".cache" / "demo"


class Machine(Cloud):
    """One machine: commands run in its namespace. The first one has the control plane."""

    def __init__(self, lab: str, number: int, data_dir: Path) -> None:
        super().__init__(data_dir, PORT)
        self.name = f"m{number}"
        self.address = f"{NETWORK}.{10 + number}"
        self.address6 = f"{NETWORK6}{10 + number}"
        self.namespace = f"{lab}-{self.name}"
        self.port_of_switch = f"{self.name}"
        self.prefix = ["nsenter", f"--net=/run/netns/{self.namespace}"]
        self._switch = f"{lab}-sw"

    def up(self, *options: str) -> str:
        """`kumo up --detach`: the machine has the control plane, and a node."""
        return self.kumo("up", "--detach", "--port", str(self.port), "--node-name", self.name, *options).stdout

    def join(self, server: Machine, *options: str) -> str:
        """`kumo join --detach`, by what `kumo token create --print-join-command` says on `server`."""
        words = server.kumo("token", "create", "--print-join-command").stdout.split()
        assert words[:2] == ["kumo", "join"]
        return self.kumo(*words[1:], "--node-name", self.name, "--detach", *options).stdout

    def link(self, up: bool) -> None:
        """Plug the machine into the switch, or pull the plug."""
        _run("ip", "-n", self._switch, "link", "set", self.port_of_switch, "up" if up else "down")

    def kill(self) -> None:
        """The machine loses its power: every process of it is gone at once, nothing is written or told."""
        from kumo.cli import leftovers
        from kumo.cli.instance import load
        from kumo.cli.status import children
        from kumo.cli.supervisor import lock_holder

        instance = load(self.data_dir)
        assert instance is not None
        pid = lock_holder(instance)
        if pid is not None:
            os.kill(pid, 19)
            end_processes([pid, *children(pid)])
        leftovers.end_daemons(instance, grace=0.0)
        leftovers.end_pods(instance)

    def import_busybox(self) -> None:
        """The image of most tests, which no registry gives here."""
        from kumo.host import demo

        self._import(demo.busybox_image(_CACHE), _BUSYBOX)

    def import_disk(self) -> None:
        """The disk of the tests' virtual machines."""
        from kumo.host import demo

        self._import(demo.container_disk(demo.build_demo_disk_cached(_CACHE)), f"{DISK_IMAGE}:latest")

    def _import(self, built: BuiltImage, name: str) -> None:
        from kumo.host.containerd.engine import connect

        async def work() -> None:
            async with connect(self.data_dir / "containerd" / "c.sock") as engine:
                await engine.images.import_image(built, [name], imported=True)

        asyncio.run(work())


@contextmanager
def machines(lab: str, count: int, directory: Path) -> Iterator[list[Machine]]:
    """`count` machines with cables and addresses, without a kumo as yet; removed with all they have. `lab` is short."""
    made = [Machine(lab, n + 1, Path(f"{directory}-m{n + 1}")) for n in range(count)]
    _remove(lab, made)
    try:
        _run("ip", "netns", "add", f"{lab}-sw")
        _run("ip", "-n", f"{lab}-sw", "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", f"{lab}-sw", "link", "set", "br0", "up")
        _run("ip", "-n", f"{lab}-sw", "addr", "add", f"{NETWORK}.1/24", "dev", "br0")
        for machine in made:
            _plug(lab, machine)
        yield made
    finally:
        _remove(lab, made)


def _plug(lab: str, machine: Machine) -> None:
    inside = ("ip", "-n", machine.namespace)
    _run("ip", "netns", "add", machine.namespace)
    _run(*inside, "link", "set", "lo", "up")
    peer = ("peer", "name", machine.port_of_switch, "netns", f"{lab}-sw")
    _run(*inside, "link", "add", "eth0", "type", "veth", *peer)
    _run("ip", "-n", f"{lab}-sw", "link", "set", machine.port_of_switch, "master", "br0", "up")
    _run(*inside, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    _run(*inside, "addr", "add", f"{machine.address6}/64", "dev", "eth0", "nodad")
    _run(*inside, "link", "set", "eth0", "up")
    _run(*inside, "route", "add", "default", "via", f"{NETWORK}.1")
    _run(*inside, "-6", "route", "add", "default", "via", f"{NETWORK6}1")


def _remove(lab: str, made: list[Machine]) -> None:
    for machine in reversed(made):
        if (machine.data_dir / "instance.json").exists():
            if not Path("/run/netns", machine.namespace).exists():
                machine.prefix = []
            fresh(machine.data_dir, machine.port) if not machine.prefix else machine.reset()
            machine.prefix = ["nsenter", f"--net=/run/netns/{machine.namespace}"]
    for name in (*(m.namespace for m in made), f"{lab}-sw"):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
