"""What a whole cloud costs: time to ready, pods, virtual machines, memory. Starts an instance of its own, removes it.

python -m benchmarks.cloud [--data-dir DIR] [--port N] [--vms 1,5,10]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.apiserver import Bench, Figure, show
from benchmarks.load import Connection, Target, target
from benchmarks.processes import pss

ROOT = Path(__file__).resolve().parents[1]
KUMO = str(ROOT / ".venv" / "bin" / "kumo")
VMS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
PODS = "/api/v1/namespaces/default/pods"
GUEST_MIB = 64
PATIENCE = 300.0


async def until(one: Connection, path: str, done: Callable[[dict[str, Any]], bool]) -> float:
    """The moment at which an object of the collection first satisfies `done`, as the watch shows it."""
    _, body = await one.call("GET", path)
    listing = json.loads(body)
    if any(done(o) for o in listing["items"]):
        return time.monotonic()
    watching = await Connection(one._where).open()
    watching.send("GET", f"{path}?watch=true&resourceVersion={listing['metadata']['resourceVersion']}")
    await watching.head()
    rest = b""
    async with asyncio.timeout(PATIENCE):
        while True:
            *lines, rest = (rest + await watching.chunk()).split(b"\n")
            if any(done(json.loads(line)["object"]) for line in lines if line):
                watching.close()
                return time.monotonic()


def phase(name: str, wanted: str) -> Callable[[dict[str, Any]], bool]:
    """Whether it is the object of that name in that phase."""
    return lambda o: o["metadata"]["name"] == name and (o.get("status") or {}).get("phase") == wanted


def busybox(name: str) -> dict[str, Any]:
    """A pod that does nothing."""
    container = {"name": "main", "image": "busybox", "command": ["sleep", "100000"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def machine(name: str) -> dict[str, Any]:
    """The primer's VM, running."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "tutorial" / "vm.yaml").read_text())
    found["metadata"]["name"] = name
    found["spec"]["running"] = True
    return found


def children(pid: int) -> list[int]:
    """All descendants of the process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def launcher_memory() -> dict[str, int]:
    """PSS in bytes of the processes of all launcher pods, by what they are."""
    found = {"qemu": 0, "libvirtd": 0, "launcher": 0}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        for what, pattern in (
            ("qemu", r"^\S*qemu-system"),
            ("libvirtd", r"^\S*libvirtd"),
            ("launcher", "virt_launcher"),
        ):
            if re.search(pattern, line):
                found[what] += pss(int(entry.name))
                break
    return found


class CloudBench:
    """The measurements of one instance."""

    def __init__(self, data_dir: str, port: int) -> None:
        self.where = ["--data-dir", data_dir]
        self.data_dir = data_dir
        self.port = port
        self.figures: list[Figure] = []

    def kumo(self, *arguments: str) -> str:
        """Run a kumo subcommand."""
        argv = [KUMO, *arguments, *self.where]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def add(self, name: str, value: float, unit: str, bar: float | None = None) -> None:
        """Add a line to the table."""
        self.figures.append(Figure(name, value, unit, bar))
        print(f"  {name}: {value:.2f} {unit}", flush=True)

    def processes(self) -> list[dict[str, Any]]:
        """The instance's processes."""
        found: list[dict[str, Any]] = json.loads(self.kumo("status", "-o", "json"))["processes"]
        return found

    async def run(self, counts: list[int]) -> list[Figure]:
        """All the figures."""
        began = time.monotonic()
        self.kumo("up", "--detach", "--port", str(self.port))
        self.add("up to ready (first start)", time.monotonic() - began, "s")
        self.kumo("image", "demo", "--cache", str(ROOT / ".cache" / "demo"))
        where = target(Path(self.data_dir, "admin.kubeconfig"))
        one = await Connection(where).open()
        self.rest()
        await self.pods(one)
        await self.machines(one, counts)
        one.close()
        await self.requests(where)
        self.kumo("down")
        began = time.monotonic()
        self.kumo("up", "--detach")
        self.add("up to ready (again)", time.monotonic() - began, "s", 2)
        return self.figures

    def rest(self) -> None:
        """Memory of the daemons with nothing to do."""
        total = 0.0
        for process in self.processes():
            total += process["memory"] / 2**20
            self.add(f"memory at rest: {process['name']}", process["memory"] / 2**20, "MiB")
        self.add("memory at rest: all daemons", total, "MiB", 400)

    async def pods(self, one: Connection) -> None:
        """Pod create to running, one at a time and ten at once."""
        times = []
        for number in range(5):
            name = f"one-{number}"
            began = time.monotonic()
            await one.call("POST", PODS, json.dumps(busybox(name)).encode())
            times.append(await until(one, PODS, phase(name, "Running")) - began)
        self.add("pod create to running", statistics.median(times), "s", 0.5)
        began = time.monotonic()
        for number in range(10):
            await one.call("POST", PODS, json.dumps(busybox(f"ten-{number}")).encode())
        ends = [await until(one, PODS, phase(f"ten-{n}", "Running")) for n in range(10)]
        self.add("ten pods at once, the last running", max(ends) - began, "s")
        await one.call("DELETE", PODS)

    async def machines(self, one: Connection, counts: list[int]) -> None:
        """VM create to QEMU running and to login; memory beyond the guest's RAM with several VMs."""
        made = 0
        for count in counts:
            began = time.monotonic()
            fresh = [f"vm-{n}" for n in range(made, count)]
            for name in fresh:
                await one.call("POST", VMS, json.dumps(machine(name)).encode())
            ends = [await until(one, VMIS, phase(name, "Running")) for name in fresh]
            if made == 0:
                self.add("VM create to QEMU running", max(ends) - began, "s", 2)
                await self.login(fresh[0])
                self.add("VM create to login", time.monotonic() - began, "s")
            made = count
            await asyncio.sleep(20 if count > 1 else 5)  # guests touch the memory that they will
            memory = launcher_memory()
            total = sum(memory.values()) / 2**20
            parts = ", ".join(f"{k} {v / 2**20 / count:.0f}" for k, v in memory.items())
            self.add(f"{count} VM(s): PSS per VM beyond its RAM ({parts})", total / count - GUEST_MIB, "MiB", 120)
        await one.call("DELETE", VMS)
        async with asyncio.timeout(PATIENCE):
            while json.loads((await one.call("GET", VMIS))[1])["items"]:
                await asyncio.sleep(0.5)

    async def login(self, name: str) -> None:
        """Wait until the guest's console log shows its login."""
        async with asyncio.timeout(PATIENCE):
            while True:
                argv = ["kubectl", "--kubeconfig", f"{self.data_dir}/admin.kubeconfig", "logs"]
                argv += ["-l", f"vm.kubevirt.io/name={name}", "-c", "guest-console-log", "--tail=-1"]
                done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False)
                if "login:" in done.stdout:
                    return
                await asyncio.sleep(0.1)

    async def requests(self, where: Target) -> None:
        """The API server's requests."""
        pid = next(p["pid"] for p in self.processes() if p["name"] == "control-plane")
        self.figures += await Bench(where, [pid]).run()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="/var/tmp/kumo-bench")
    parser.add_argument("--port", type=int, default=26443)
    parser.add_argument("--vms", default="1,5,10")
    chosen = parser.parse_args()
    bench = CloudBench(chosen.data_dir, chosen.port)
    if Path(chosen.data_dir, "instance.json").exists():
        bench.kumo("reset", "--yes")
    try:
        figures = asyncio.run(bench.run([int(n) for n in chosen.vms.split(",")]))
    finally:
        bench.kumo("reset", "--yes")
    print()
    show(figures)


if __name__ == "__main__":
    main()
