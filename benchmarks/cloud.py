"""What a whole cloud costs: time to ready, pods, virtual machines, memory. Starts an instance of its own, removes it.

    python -m benchmarks.cloud [--data-dir DIR] [--port N] [--vms 1,5,10]

Times are wall time as a client sees them through a watch: other load on the machine lengthens them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.apiserver import Bench
from benchmarks.figures import Figure, Unit, figure, show
from benchmarks.load import Connection, Target, target
from benchmarks.machines import overhead
from benchmarks.processes import cpu_seconds, pss, rss

ROOT = Path(__file__).resolve().parents[1]
VMS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
PODS = "/api/v1/namespaces/default/pods"
PATIENCE = 300.0
STARTS, PODS_EACH, VMS_EACH = 3, 10, 5
_BEFORE_LOGIN = b"use 'sudo' for root."
"""The last whole line that the demo guest prints before its prompt; the log of a container shows whole lines."""


async def until(one: Connection, path: str, done: Callable[[list[dict[str, Any]]], bool]) -> float:
    """The moment at which the collection first satisfies `done`, as a watch shows it."""
    _, body = await one.call("GET", path)
    listing = json.loads(body)
    known = {o["metadata"]["name"]: o for o in listing["items"]}
    if done(list(known.values())):
        return time.monotonic()
    watching = await Connection(one.where).open()
    try:
        watching.send("GET", f"{path}?watch=true&resourceVersion={listing['metadata']['resourceVersion']}")
        await watching.head()
        rest = b""
        async with asyncio.timeout(PATIENCE):
            while True:
                *lines, rest = (rest + await watching.chunk()).split(b"\n")
                for event in map(json.loads, filter(None, lines)):
                    name = event["object"]["metadata"].get("name", "")
                    known.pop(name, None) if event["type"] == "DELETED" else known.update({name: event["object"]})
                if done(list(known.values())):
                    return time.monotonic()
    finally:
        watching.close()


def running(names: list[str]) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether all of these are in the phase Running."""

    def done(objects: list[dict[str, Any]]) -> bool:
        found = {o["metadata"]["name"] for o in objects if (o.get("status") or {}).get("phase") == "Running"}
        return found.issuperset(names)

    return done


def busybox(name: str) -> dict[str, Any]:
    """A pod that does nothing."""
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "100000"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def machine(name: str) -> dict[str, Any]:
    """The primer's VM, running."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "tutorial" / "vm.yaml").read_text())
    found["metadata"]["name"] = name
    found["spec"]["running"] = True
    return found


class CloudBench:
    """The measurements of one instance."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir
        self.port = port
        self.figures: list[Figure] = []

    def kumo(self, *arguments: str) -> str:
        """Run a kumo subcommand; what it printed."""
        argv = [sys.executable, "-m", "kumo.cli.main", *arguments, "--data-dir", str(self.data_dir)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"kumo {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def reset(self) -> None:
        """Remove the instance, if there is one: also what a killed run left."""
        if (self.data_dir / "instance.json").exists():
            self.kumo("reset", "--yes")

    def add(self, name: str, unit: Unit, values: float | list[float], bar: float | None = None) -> None:
        """Add a line to the table, and show it at once."""
        self.figures.append(figure(name, unit, values, bar))
        print(self.figures[-1].line(), flush=True)

    def processes(self) -> dict[str, int]:
        """The pids of the instance's processes by their names."""
        found = json.loads(self.kumo("status", "-o", "json"))["processes"]
        return {each["name"]: each["pid"] for each in found}

    async def run(self, counts: list[int]) -> list[Figure]:
        """All the figures."""
        self.starts()
        self.kumo("image", "demo", "--cache", str(ROOT / ".cache" / "demo"))
        where = target(self.data_dir / "admin.kubeconfig")
        one = await Connection(where).open()
        await self.rest("at rest")
        await self.pods(one)
        await self.machines(one, counts)
        await self.memory_of_machines(one, counts)
        one.close()
        await self.rest("after that work")
        await self.requests(where)
        self.kumo("reset", "--yes")
        await self.requests_alone()
        return self.figures

    def starts(self) -> None:
        """`kumo up --detach` until it returns, on nothing and on what is there; the last instance stays."""

        def up(*arguments: str) -> float:
            began = time.monotonic()
            self.kumo("up", "--detach", *arguments)
            return time.monotonic() - began

        first, again = [], []
        for turn in range(STARTS):
            first.append(up("--port", str(self.port)))
            self.kumo("down")
            again.append(up())
            if turn < STARTS - 1:
                self.kumo("reset", "--yes")
        self.add("up to ready, first start", "s", first, 2)
        self.add("up to ready, again", "s", again, 2)

    async def rest(self, when: str) -> None:
        """Memory and CPU time of the daemons with nothing to do."""
        await asyncio.sleep(35)  # the API server gives memory back every 30 seconds
        found = self.processes()
        before = cpu_seconds(list(found.values()))
        await asyncio.sleep(10)
        spent = cpu_seconds(list(found.values())) - before
        held = {name: pss(pid) / 2**20 for name, pid in found.items()}
        for name, value in held.items():
            self.add(f"memory (PSS) {when}: {name}", "MiB", value)
        self.add(f"memory (PSS) {when}: all daemons", "MiB", sum(held.values()), 400)
        self.add(f"memory (RSS) {when}: all daemons", "MiB", sum(map(rss, found.values())) / 2**20)
        self.add(f"CPU {when}: all daemons, of one processor", "%", spent * 10)

    async def pods(self, one: Connection) -> None:
        """Pod create to running, one at a time and ten at once."""
        times = []
        names = [f"one-{number}" for number in range(PODS_EACH)]
        for name in names:
            began = time.monotonic()
            await self._create(one, PODS, busybox(name))
            times.append(await until(one, PODS, running([name])) - began)
        self.add("pod create to running", "s", times, 0.5)
        names = [f"ten-{number}" for number in range(10)]
        began = time.monotonic()
        for name in names:
            await self._create(one, PODS, busybox(name))
        self.add("ten pods at once, the last running", "s", await until(one, PODS, running(names)) - began)
        await self._empty(one, PODS, PODS)

    async def machines(self, one: Connection, counts: list[int]) -> None:
        """VM create to QEMU running and to login, one after the other, each alone."""
        started, login = [], []
        for number in range(VMS_EACH):
            name = f"alone-{number}"
            began = time.monotonic()
            await self._create(one, VMS, machine(name))
            started.append(await until(one, VMIS, running([name])) - began)
            await self._login(one.where, name)
            login.append(time.monotonic() - began)
            await self._empty(one, VMS, VMIS)
        self.add("VM create to QEMU running", "s", started, 2)
        self.add("VM create to login prompt", "s", login)

    async def memory_of_machines(self, one: Connection, counts: list[int]) -> None:
        """What each VM's processes hold beyond the guest's RAM, with several numbers of VMs that have booted."""
        names: list[str] = []
        for count in counts:
            fresh = [f"vm-{n}" for n in range(len(names), count)]
            began = time.monotonic()
            for name in fresh:
                await self._create(one, VMS, machine(name))
            names += fresh
            ends = await until(one, VMIS, running(names)) - began
            if len(fresh) > 1:
                self.add(f"{len(fresh)} VMs at once, the last QEMU running", "s", ends)
            await asyncio.gather(*(self._login(one.where, name) for name in fresh))
            await asyncio.sleep(5)
            found, parts, ram = await asyncio.to_thread(overhead, self.data_dir)
            assert found == count, f"{found} QEMUs run, not {count}"
            whole = sum(parts.values()) / 2**20 / count
            self.add(f"memory (PSS) of a VM beyond its RAM, {count} VM(s)", "MiB", whole, 120)
            for part, held in parts.items():
                if held / count >= 2**17:
                    self.add(f"  {part}", "MiB", held / 2**20 / count)
            self.add("  (RAM that a guest has touched, not in the above)", "MiB", ram / 2**20 / count)
        daemons = sum(map(pss, self.processes().values())) / 2**20
        self.add(f"memory (PSS) of all daemons with {len(names)} VMs", "MiB", daemons)
        await self._empty(one, VMS, VMIS)

    async def _create(self, one: Connection, path: str, body: dict[str, Any]) -> None:
        status, answer = await one.call("POST", path, json.dumps(body).encode())
        assert status == 201, answer

    async def _empty(self, one: Connection, path: str, left: str) -> None:
        """Delete a collection; return when the collection `left` and the pods are gone."""
        await one.call("DELETE", path)
        for each in (left, PODS):
            await until(one, each, lambda objects: not objects)

    async def _login(self, where: Target, name: str) -> None:
        """Wait until the guest's console shows its login prompt, following the log of the launcher's sidecar."""
        follower = await Connection(where).open()
        try:
            _, body = await follower.call("GET", f"{PODS}?labelSelector=vm.kubevirt.io/name%3D{name}")
            pod = json.loads(body)["items"][0]["metadata"]["name"]
            follower.send("GET", f"{PODS}/{pod}/log?container=guest-console-log&follow=true")
            status, _ = await follower.head()
            assert status == 200, status
            said = b""
            async with asyncio.timeout(PATIENCE):
                while _BEFORE_LOGIN not in said:
                    said = said[-64:] + await follower.chunk()
        finally:
            follower.close()

    async def requests(self, where: Target) -> None:
        """The API server's requests; its process is the whole control plane, whose controllers see the objects too."""
        pid = self.processes()["control-plane"]
        self.figures += await Bench(where, [pid], label="control plane: ").run()

    async def requests_alone(self) -> None:
        """The same of the API server alone, and what watches hold of a fresh one."""
        await self._alone(lambda bench: bench.run())
        await self._alone(lambda bench: bench.idle())

    async def _alone(self, measured: Callable[[Bench], Awaitable[list[Figure]]]) -> None:
        with tempfile.TemporaryDirectory(prefix="kumo-bench-", dir="/var/tmp") as directory:
            argv = [sys.executable, "-m", "benchmarks.alone", directory, str(self.port)]
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
                try:
                    assert server.stdout is not None
                    assert await asyncio.to_thread(server.stdout.readline) == b"ready\n"
                    where = target(Path(directory, "admin.kubeconfig"))
                    self.figures += await measured(Bench(where, [server.pid], label="API server: "))
                finally:
                    server.terminate()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("/var/tmp/kumo-bench"))
    parser.add_argument("--port", type=int, default=26443)
    parser.add_argument("--vms", default="1,5,10")
    chosen = parser.parse_args()
    bench = CloudBench(chosen.data_dir, chosen.port)
    bench.reset()
    try:
        figures = asyncio.run(bench.run([int(n) for n in chosen.vms.split(",")]))
    finally:
        bench.reset()
    print()
    show(figures)


if __name__ == "__main__":
    main()
