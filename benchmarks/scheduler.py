"""Scheduling at scale: pods on hollow nodes, and what that costs the scheduler and the whole control plane.

    python -m benchmarks.scheduler --alone                   # the scheduler's decisions alone, in this process
    python -m benchmarks.scheduler --data-dir /var/tmp/kumo-bench-scheduler --port 26446

`--alone` decides on pods one after the other in memory, as the scheduler does between two writes. Without it a cloud
without a node of its own is started, hollow nodes join it, and the pods are made over the API: CPU time is that of the
control plane's process, from the first creation until the last pod is bound and Running.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.processes import cpu_seconds, pss
from kumo.api.objects import Object
from kumo.api.resources import NAMESPACES, NODES, PODS
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.decision import best, look
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.profile import default_profile
from kumo.kubernetes.scheduler.world import World
from kumo.machinery import kubeconfig
from kumo.machinery.client import Client
from kumo.machinery.transport import HttpTransport

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
_SELECTOR = {"matchLabels": {"app": "bench"}}


def _spread(spec: dict[str, Any]) -> None:
    hard = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": _SELECTOR}
    soft = {"maxSkew": 1, "topologyKey": HOST, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": _SELECTOR}
    spec["topologySpreadConstraints"] = [hard, soft]


def _term(key: str, kind: str) -> dict[str, Any]:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": kind}}}


def _preferred_apart(spec: dict[str, Any]) -> None:
    terms = [{"weight": 100, "podAffinityTerm": _term(HOST, "bench")}]
    spec["affinity"] = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}


def _required_apart(spec: dict[str, Any]) -> None:
    spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_term(HOST, "bench")]}}


def _required_near(spec: dict[str, Any]) -> None:
    spec["affinity"] = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_term(ZONE, "bench")]}}


MIXES: dict[str, Callable[[dict[str, Any]], None]] = {
    "plain": lambda spec: None,
    "spread over zones (hard) and hosts (soft)": _spread,
    "preferred anti-affinity (host)": _preferred_apart,
    "required anti-affinity (host)": _required_apart,
    "required affinity (zone)": _required_near,
}


def pod(name: str, change: Callable[[dict[str, Any]], None]) -> Object:
    """A pod of the benchmark."""
    requests = {"cpu": "100m", "memory": "100Mi"}
    container = {"name": "c", "image": "registry.example.com/bench:1", "resources": {"requests": requests}}
    spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0}
    change(spec)
    meta = {"name": name, "namespace": "bench", "labels": {"app": "bench"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def node(index: int) -> Object:
    """A node of the benchmark, in one of ten zones."""
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    name = f"hollow-{index}"
    meta = {"name": name, "uid": name, "labels": {HOST: name, ZONE: f"zone-{index % 10}"}}
    return {"metadata": meta, "spec": {}, "status": {"allocatable": amounts}}


def alone(nodes: int, pods: int) -> None:
    """Decide on the pods of each mix in memory, print the CPU time."""
    profile, rng = default_profile(), Random(1)
    for title, change in MIXES.items():
        cache = Cache()
        for i in range(nodes):
            cache.set_node(node(i))
        world = World(cache, default_selector=lambda _: _SELECTOR)
        start, unplaced = 0, 0
        began = time.process_time()
        for i in range(pods):
            body = pod(f"p{i}", change)
            body["metadata"]["uid"] = f"p{i}"
            info = PodInfo.of(body)
            verdict = look(info, world, profile, start)
            start = (start + len(verdict.feasible) + len(verdict.refusals)) % nodes
            if verdict.feasible:
                cache.assume(info, best(verdict, profile, rng))
            else:
                unplaced += 1
        spent = time.process_time() - began
        print(f"{title:<44} {spent:6.2f} s for {pods} pods, {spent / pods * 1000:5.2f} ms each, {unplaced} unplaced")


class Cloud:
    """A control plane and hollow nodes of its own."""

    def __init__(self, directory: Path, port: int, nodes: int) -> None:
        self._directory, self._port, self._nodes = directory, port, nodes
        self._hollow: subprocess.Popen[bytes] | None = None

    def _kumo(self, *args: str) -> None:
        subprocess.run([sys.executable, "-m", "kumo.cli.main", *args], check=True, stdout=subprocess.DEVNULL)

    def __enter__(self) -> Cloud:
        where = ("--data-dir", str(self._directory))
        self._kumo("up", "--detach", "--no-node", *where, "--port", str(self._port))
        zones = ",".join(f"zone-{i}" for i in range(10))
        argv = ["hollow-node", *where, "--count", str(self._nodes), "--label", f"{ZONE}={zones}", "--impersonate"]
        self._hollow = subprocess.Popen([sys.executable, "-m", "kumo.cli.main", *argv], stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hollow is not None:
            self._hollow.terminate()
            self._hollow.wait()
        self._kumo("reset", "--yes", "--data-dir", str(self._directory))

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self._directory / "admin.kubeconfig"

    @property
    def hollow(self) -> int:
        """The pid of the hollow nodes."""
        return self._hollow.pid if self._hollow is not None else 0

    def control_plane(self) -> int:
        """The pid of the control plane."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                except OSError:
                    continue
                if "kumo.cli.control_plane" in words and str(self._directory) in words:
                    return int(entry.name)
        raise LookupError("the control plane does not run")


async def measure(cloud: Cloud, nodes: int, pods: int) -> None:
    """Make the pods of each mix over the API, print what they cost."""
    client = Client(_patient(cloud.kubeconfig))
    began = time.monotonic()
    before = cpu_seconds([cloud.hollow])
    while len([n for n in (await client.list(NODES)).items if _is_ready(n)]) < nodes:
        await asyncio.sleep(2)
    print(
        f"{nodes} hollow nodes ready in {time.monotonic() - began:.1f} s; their process: "
        f"{cpu_seconds([cloud.hollow]) - before:.1f} s of CPU, {pss(cloud.hollow) / 2**20:.0f} MiB"
    )
    plane = cloud.control_plane()
    await asyncio.sleep(10)
    rest = [cpu_seconds([pid]) for pid in (plane, cloud.hollow)]
    await asyncio.sleep(20)
    shares = [(cpu_seconds([pid]) - r) / 20 * 100 for pid, r in zip((plane, cloud.hollow), rest)]
    print(f"at rest: control plane {shares[0]:.1f} % of a core, hollow nodes {shares[1]:.1f} %")
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})
    for number, (title, change) in enumerate(MIXES.items()):
        await _one_mix(client, plane, cloud.hollow, pods, title, number, change)
    print(f"control plane: {pss(plane) / 2**20:.0f} MiB")
    await client.transport.close()


def _patient(path: Path) -> HttpTransport:
    """A transport that waits long: the machine may have much else to do."""
    access = kubeconfig.read(path)
    files = []
    for name, data in (("ca", access.ca), ("cert", access.cert), ("key", access.key)):
        file = path.with_name(f"bench-{name}.pem")
        file.write_bytes(data)
        files.append(file)
    return HttpTransport(access.server, ca=files[0], cert=files[1], key=files[2], timeout=600)


async def _one_mix(
    client: Client,
    plane: int,
    hollow: int,
    pods: int,
    title: str,
    number: int,
    change: Callable[[dict[str, Any]], None],
) -> None:
    turns = asyncio.Semaphore(16)

    async def make(name: str) -> None:
        async with turns:
            await client.create(PODS, pod(name, change))

    began, cpu, theirs = time.monotonic(), cpu_seconds([plane]), cpu_seconds([hollow])
    await asyncio.gather(*(make(f"m{number}-{i}") for i in range(pods)))
    made = time.monotonic() - began
    while (left := len((await client.list(PODS, "bench", field_selector="status.phase=Pending", limit=1)).items)) and (
        time.monotonic() - began < 300
    ):
        await asyncio.sleep(0.5)
    print(
        f"{title:<44} made in {made:5.1f} s, all running after {time.monotonic() - began:5.1f} s"
        f"{' (some wait for ever)' if left else ''}; CPU: control plane {cpu_seconds([plane]) - cpu:5.1f} s, "
        f"hollow nodes {cpu_seconds([hollow]) - theirs:4.1f} s"
    )
    await client.request("DELETE", PODS.path("bench"), body={"gracePeriodSeconds": 0})
    while (await client.list(PODS, "bench", limit=1)).items:
        await asyncio.sleep(0.5)


def _is_ready(found: Object) -> bool:
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in found["status"].get("conditions") or ())
    return ready and not (found.get("spec") or {}).get("taints")


def main() -> None:
    """Run one of the two forms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--data-dir", type=Path, default=Path("/var/tmp/kumo-bench-scheduler"))
    parser.add_argument("--port", type=int, default=26446)
    chosen = parser.parse_args()
    if chosen.alone:
        alone(chosen.nodes, chosen.pods)
        return
    with Cloud(chosen.data_dir, chosen.port, chosen.nodes) as cloud:
        asyncio.run(measure(cloud, chosen.nodes, chosen.pods))


if __name__ == "__main__":
    main()
