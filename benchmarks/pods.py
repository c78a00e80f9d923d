"""What pods cost on a node: how fast they start and where the time goes, and what idle ones hold in memory.

    sudo python -m benchmarks.pods [--data-dir DIR] [--port N]

Starts an instance of its own, removes it, prints Markdown. Times are wall time as a client sees them through a watch;
in between, the engine says when it made and started the container (the API's own times are whole seconds). Other load
on the machine lengthens them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cloud import PATIENCE, PODS, ROOT, CloudBench, busybox
from benchmarks.load import Connection, Target, target
from benchmarks.machines import part_of, shims
from benchmarks.processes import argv, children, cpu_seconds, pss
from kumo.cli import engines
from kumo.cli.instance import load
from kumo.host.containerd.engine import Containerd, connect

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
ROUNDS = {1: 20, 10: 3, 50: 2}
"""How often so many pods are started at once."""
KILLS, IDLE, DEPLOYED = 5, 100, 50
REST = 32.0
"""The control plane gives memory back every 30 seconds."""
STAGES = ("bound", "made", "started", "ready")


class Pods:
    """The pods as a watch shows them, and when it first showed what (seconds since 1970)."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.bound: dict[str, float] = {}
        self.ready: dict[str, float] = {}
        self._changed = asyncio.Event()

    async def follow(self, watching: Connection) -> None:
        """Read the watch until cancelled."""
        rest = b""
        while True:
            *lines, rest = (rest + await watching.chunk()).split(b"\n")
            now = time.time()
            for event in map(json.loads, filter(None, lines)):
                self._note(event["type"], event["object"], now)
            self._changed.set()

    def _note(self, kind: str, pod: dict[str, Any], now: float) -> None:
        name = pod["metadata"].get("name", "")
        if kind == "DELETED":
            for each in (self.known, self.bound, self.ready):
                each.pop(name, None)
        elif kind in ("ADDED", "MODIFIED"):
            self.known[name] = pod
            if pod["spec"].get("nodeName"):
                self.bound.setdefault(name, now)
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ()):
                self.ready.setdefault(name, now)

    async def until(self, done: Callable[[], bool]) -> float:
        """Wait until `done` holds after some event; that moment."""
        async with asyncio.timeout(PATIENCE):
            while not done():
                self._changed.clear()
                await self._changed.wait()
        return time.time()

    async def until_ready(self, names: Sequence[str]) -> float:
        """Wait until all of these have been ready; that moment."""
        return await self.until(lambda: all(n in self.ready for n in names))

    def restarted(self, name: str) -> bool:
        """Whether the pod's container runs again, after it has ended."""
        found = self.known[name]["status"]["containerStatuses"][0]
        return found["restartCount"] > 0 and "running" in found["state"]


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def idle(name: str, seconds: int = 100000) -> dict[str, Any]:
    """A pod that does nothing; its process is known by the number of seconds."""
    found = busybox(name)
    found["spec"]["containers"][0]["command"] = ["sleep", str(seconds)]
    return found


class PodBench:
    """The measurements on one instance that runs."""

    def __init__(self, cloud: CloudBench, where: Target, engine: Containerd) -> None:
        self.cloud = cloud
        self.engine = engine
        self.pods = Pods()
        self._where = where

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[PodBench]:
        """With a watch on the pods."""
        watching = await Connection(self._where).open()
        watching.send("GET", f"{PODS}?watch=true")
        assert (await watching.head())[0] == 200
        following = asyncio.create_task(self.pods.follow(watching))
        try:
            yield self
        finally:
            following.cancel()
            await asyncio.wait([following])
            watching.close()

    async def make(self, path: str, bodies: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Create the objects, eight at a time; when each was sent."""
        waiting, sent = list(bodies), {}

        async def work(client: Connection) -> None:
            while waiting:
                body = waiting.pop(0)
                sent[body["metadata"]["name"]] = time.time()
                status, answer = await client.call("POST", path, json.dumps(body).encode())
                assert status == 201, answer

        clients = [await Connection(self._where).open() for _ in bodies[:8]]
        await asyncio.gather(*map(work, clients))
        for each in clients:
            each.close()
        return sent

    async def delete(self, path: str) -> None:
        """Delete an object or a collection."""
        client = await Connection(self._where).open()
        status, answer = await client.call("DELETE", path)
        client.close()
        assert status == 200, answer

    async def empty(self) -> None:
        """Delete all pods; wait until they are gone and the node has cleared them away."""
        await self.delete(PODS)
        await self.pods.until(lambda: not self.pods.known)
        async with asyncio.timeout(PATIENCE):
            while await self.engine.runtime.list_sandboxes():
                await asyncio.sleep(0.1)

    async def starts(self, at_once: int, rounds: int) -> str:
        """Start so many pods at once, several times: a row of the table."""
        taken: list[float] = []
        stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for turn in range(rounds):
            names = [f"start-{at_once}-{turn}-{number}" for number in range(at_once)]
            sent = await self.make(PODS, [idle(name) for name in names])
            await self.pods.until_ready(names)
            engine = await self._engine_times(names)
            for name in names:
                moments = (sent[name], self.pods.bound[name], *engine[name], self.pods.ready[name])
                taken.append(moments[-1] - moments[0])
                for stage, before, after in zip(STAGES, moments, moments[1:]):
                    stages[stage].append(after - before)
            if at_once > 1:
                await self.empty()
        await self.empty()
        cells = [f"{percentile(taken, share):.3g} s" for share in (0.5, 0.99)]
        cells += [f"{statistics.median(stages[stage]) * 1000:.0f} ms" for stage in STAGES]
        return f"| {at_once} | {len(taken)} | {' | '.join(cells)} |"

    async def _engine_times(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """When the pods' containers were made and when they were started, as containerd says."""
        found = {}
        for name in names:
            whole = self.pods.known[name]["status"]["containerStatuses"][0]["containerID"]
            status = await self.engine.runtime.container_status(whole.partition("://")[2])
            found[name] = (status.created_at / 1e9, status.started_at / 1e9)
        return found

    async def deployment(self) -> None:
        """A Deployment until all of its pods are ready."""
        labels = {"app": "bench"}
        template = {"metadata": {"labels": labels}, "spec": idle("")["spec"]}
        spec = {"replicas": DEPLOYED, "selector": {"matchLabels": labels}, "template": template}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "bench"}, "spec": spec}
        began = time.time()
        await self.make(DEPLOYMENTS, [body])
        ended = await self.pods.until(lambda: len(self.pods.ready) >= DEPLOYED)
        self.cloud.add(f"Deployment of {DEPLOYED} pods, all ready", "s", ended - began, 15)
        await self.delete(f"{DEPLOYMENTS}/bench")
        await self.empty()

    async def kills(self) -> None:
        """A container's process killed, until a watch shows the next one running."""
        pods = {f"killed-{n}": 200000 + n for n in range(KILLS)}
        await self.make(PODS, [idle(name, seconds) for name, seconds in pods.items()])
        await self.pods.until_ready(list(pods))
        taken = []
        for name, seconds in pods.items():
            everyone = (pid for shim in shims(self.cloud.data_dir) for pid in children(shim))
            victim = next(pid for pid in everyone if argv(pid) == ["sleep", str(seconds)])
            began = time.time()
            os.kill(victim, signal.SIGKILL)
            taken.append(await self.pods.until(partial(self.pods.restarted, name)) - began)
        self.cloud.add("container killed, until it runs again", "s", taken, 1.5)
        await self.empty()

    async def memory(self) -> None:
        """What idle pods hold: their own processes, their shims, and what the daemons hold more for them."""
        daemons = {n: pid for n, pid in self.cloud.processes().items() if n != "supervisor"}
        await asyncio.sleep(REST)
        before = {name: pss(pid) for name, pid in daemons.items()}
        names = [f"idle-{number}" for number in range(IDLE)]
        await self.make(PODS, [idle(name) for name in names])
        await self.pods.until_ready(names)
        await asyncio.sleep(REST)
        spent = cpu_seconds(list(daemons.values()))
        await asyncio.sleep(10)
        spent = cpu_seconds(list(daemons.values())) - spent
        held = {name: pss(pid) for name, pid in daemons.items()}
        parts = await asyncio.to_thread(self._parts)
        await self.empty()
        add = self.cloud.add
        for name in daemons:
            add(f"memory (PSS) with {IDLE} idle pods: {name}", "MiB", held[name] / 2**20)
        both = (held["control-plane"] + held["node"]) / 2**20
        add("control plane and node together", "MiB", both, 500)
        add(f"CPU with {IDLE} idle pods: the daemons, of one processor", "%", spent * 10)
        more = {name: (held[name] - before[name]) / IDLE / 2**20 for name in daemons}
        each = {part: size / IDLE / 2**20 for part, size in parts.items()}
        beside = each["shim"] + each["pause"] + sum(more.values())
        add("an idle pod, beside its own processes", "MiB", beside, 8)
        add("&nbsp;&nbsp;its shim", "MiB", each["shim"])
        add("&nbsp;&nbsp;its pause", "MiB", each["pause"])
        for name, size in more.items():
            add(f"&nbsp;&nbsp;what {name} holds more", "MiB", size)
        add("an idle pod's own process (sleep)", "MiB", each["other"])

    def _parts(self) -> dict[str, int]:
        """The PSS in bytes of all the pods' processes, by what they are."""
        found = {"shim": 0, "pause": 0, "other": 0}
        everyone = shims(self.cloud.data_dir)
        assert len(everyone) == IDLE, f"{len(everyone)} shims run, not {IDLE}"
        for shim in everyone:
            for pid in (shim, *children(shim)):
                part = part_of(argv(pid))
                found[part if part in found else "other"] += pss(pid)
        return found


async def run(cloud: CloudBench) -> None:
    """All the figures of a running instance, printed."""
    instance = load(cloud.data_dir)
    assert instance is not None
    where = target(cloud.data_dir / "admin.kubeconfig")
    async with (
        connect(engines.containerd(instance).socket) as engine,
        PodBench(cloud, where, engine).connected() as bench,
    ):
        rows = [await bench.starts(1, ROUNDS[1])]
        await bench.kills()
        await bench.memory()  # before the many: what is given back late is not to hide what pods hold
        rows += [await bench.starts(at_once, rounds) for at_once, rounds in ROUNDS.items() if at_once > 1]
        await bench.deployment()
    load_average = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"\nLoad average at the end, with the benchmark's own: {load_average}\n")
    print("| pods at once | pods in all | p50 | p99 | bound | sandbox | container | ready |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|", *rows, "", sep="\n")
    print("| what | median | times | lowest to highest | bar | |", "|---|---:|---:|---|---:|---|", sep="\n")
    for each in cloud.figures:
        print(each.row())


def main() -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        raise SystemExit("pods are root's: sudo python -m benchmarks.pods")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("/var/tmp/kumo-bench-pods"))
    parser.add_argument("--port", type=int, default=26447)
    chosen = parser.parse_args()
    cloud = CloudBench(chosen.data_dir, chosen.port)
    cloud.reset()
    try:
        cloud.kumo("up", "--detach", "--port", str(chosen.port))
        cloud.kumo("image", "demo", "--cache", str(ROOT / ".cache" / "demo"))
        asyncio.run(run(cloud))
    finally:
        cloud.reset()


if __name__ == "__main__":
    main()
