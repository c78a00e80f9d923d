"""What an API server's requests cost: CPU microseconds of the server's processes, load from this process.

    python -m benchmarks.apiserver --kubeconfig FILE --pid PID [--pid PID ...] [--idle]

Works against kumo and against kube-apiserver (name etcd's pid too). Makes and removes the namespace `bench`.
CPU time, not wall time: what else runs on the machine lengthens a request, but hardly its cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Unit, figure, show
from benchmarks.load import Connection, Target, idle_watches, target
from benchmarks.processes import cpu_seconds, rss

NAMESPACE = "bench"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
OBJECTS = 5000
CLIENTS = 64
REPEATS = 5
CHANGES = 200
MERGE = "content-type: application/merge-patch+json\r\n"
APPLY = "content-type: application/apply-patch+yaml\r\n"
IDLE_WATCHES = 10_000


def pod(name: str, number: int) -> dict[str, Any]:
    """A pod of about 3 KB that no scheduler takes."""
    env = [{"name": f"SETTING_{i}", "value": "a value of some length, as they are"} for i in range(12)]
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": "bench", "shard": str(number % 10), "tier": "web"},
            "annotations": {f"example.org/note-{i}": "something to remember " * 3 for i in range(4)},
        },
        "spec": {
            "schedulerName": "nobody",
            "containers": [
                {
                    "name": f"c{i}",
                    "image": "registry.example/team/web:1.2.3",
                    "env": env,
                    "ports": [{"containerPort": 8080 + i, "name": f"http{i}"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                    "livenessProbe": probe,
                    "readinessProbe": probe,
                }
                for i in range(2)
            ],
        },
    }


class Bench:
    """Runs the measurements against one server."""

    def __init__(self, where: Target, pids: list[int], rest: float = 65.0, label: str = "") -> None:
        self.where = where
        self.pids = pids
        self.label = label
        """What the figures' names begin with."""
        self.rest = rest
        """Seconds without load before memory is read: servers give back what they no longer need when they rest."""
        self.figures: list[Figure] = []

    async def connections(self, count: int) -> list[Connection]:
        """That many open connections."""
        return list(await asyncio.gather(*(Connection(self.where).open() for _ in range(count))))

    async def measure(
        self, name: str, unit: Unit, bar: float | None, units: int, work: Callable[[int], Awaitable[None]]
    ) -> None:
        """A figure: the CPU time of `work`, some times over, divided by the `units` of work that each does."""
        self._add(name, unit, await self.costs(unit, units, work), bar)

    def _add(self, name: str, unit: Unit, values: float | list[float], bar: float | None = None) -> None:
        self.figures.append(figure(self.label + name, unit, values, bar))
        print(self.figures[-1].line(), flush=True)

    async def costs(self, unit: Unit, units: int, work: Callable[[int], Awaitable[None]]) -> list[float]:
        """The CPU time of each turn of `work`, per unit of its work."""
        scale = {"us": 1e6, "ms": 1e3}[unit]
        values = []
        for repeat in range(REPEATS):
            before = cpu_seconds(self.pids)
            await work(repeat)
            values.append((cpu_seconds(self.pids) - before) / units * scale)
        return values

    async def run(self) -> list[Figure]:
        """All the figures."""
        one = (await self.connections(1))[0]
        await one.call("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": NAMESPACE}}).encode())
        await self._ensure_service_account(one)
        clients = await self.connections(CLIENTS)
        await self._create(clients)
        await self._get(clients)
        await self._list(one)
        await self._patch(clients)
        await self._apply(clients)
        await asyncio.sleep(self.rest)
        self._add("memory (RSS) with 5,000 pods", "MiB", self._memory(), 200)
        alone = await self.costs("us", CHANGES, lambda repeat: self._changes(one, f"alone-{repeat}"))
        for watchers in (100, 1000):
            await self._watch(one, watchers, statistics.median(alone))
        await asyncio.sleep(self.rest)
        self._add("memory (RSS) after 1,000 watchers have gone", "MiB", self._memory())
        await one.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        for each in (one, *clients):
            each.close()
        return self.figures

    async def _ensure_service_account(self, one: Connection) -> None:
        """Pods need one; where no controller makes it, we do."""
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
        deadline = time.monotonic() + 5
        while (await one.call("GET", f"{path}/default"))[0] != 200:
            if time.monotonic() > deadline:
                await one.call("POST", path, json.dumps({"metadata": {"name": "default"}}).encode())
            await asyncio.sleep(0.05)

    async def _spread(self, clients: list[Connection], jobs: list[Callable[[Connection], Awaitable[None]]]) -> None:
        queue = iter(jobs)

        async def worker(client: Connection) -> None:
            for job in queue:
                await job(client)

        await asyncio.gather(*(worker(c) for c in clients))

    async def _create(self, clients: list[Connection]) -> None:
        share = OBJECTS // REPEATS

        def job(number: int) -> Callable[[Connection], Awaitable[None]]:
            body = json.dumps(pod(f"p{number:05d}", number)).encode()

            async def create(client: Connection) -> None:
                status, answer = await client.call("POST", PODS, body)
                assert status == 201, answer

            return create

        async def work(repeat: int) -> None:
            await self._spread(clients, [job(repeat * share + i) for i in range(share)])

        await self.measure("CREATE pod, 64 clients", "us", 500, share, work)

    async def _get(self, clients: list[Connection]) -> None:
        async def get(client: Connection) -> None:
            status, answer = await client.call("GET", f"{PODS}/p00042")
            assert status == 200, answer

        async def work(_: int) -> None:
            await self._spread(clients, [get] * 4000)

        await self.measure("GET pod, 64 clients", "us", 100, 4000, work)

    async def _list(self, one: Connection) -> None:
        async def listing(query: str, headers: str = "") -> None:
            for _ in range(5):
                status, _answer = await one.call("GET", PODS + query, headers=headers)
                assert status == 200

        await self.measure("LIST 5,000 pods", "ms", 20, 5, lambda _: listing(""))
        await self.measure("LIST 5,000 pods, gzip", "ms", 3, 5, lambda _: listing("", "accept-encoding: gzip\r\n"))
        await self.measure("LIST by label (a tenth)", "ms", 4, 5, lambda _: listing("?labelSelector=shard%3D3"))

    async def _patch(self, clients: list[Connection]) -> None:
        async def work(repeat: int) -> None:
            def job(number: int) -> Callable[[Connection], Awaitable[None]]:
                body = json.dumps({"metadata": {"annotations": {"example.org/turn": f"{repeat}-{number}"}}}).encode()

                async def patch(client: Connection) -> None:
                    status, answer = await client.call("PATCH", f"{PODS}/p{number:05d}", body, MERGE)
                    assert status == 200, answer

                return patch

            await self._spread(clients, [job(i) for i in range(500)])

        await self.measure("merge PATCH pod, 64 clients", "us", 700, 500, work)

    async def _apply(self, clients: list[Connection]) -> None:
        """Server-side applies that change one label of what the same manager has applied before."""

        def job(repeat: int, number: int) -> Callable[[Connection], Awaitable[None]]:
            wanted = pod(f"p{number:05d}", number)
            wanted["metadata"]["labels"]["turn"] = f"t{repeat + 1}"
            body = json.dumps(wanted).encode()
            path = f"{PODS}/p{number:05d}?fieldManager=bench&force=true"

            async def apply(client: Connection) -> None:
                status, answer = await client.call("PATCH", path, body, APPLY)
                assert status == 200, answer

            return apply

        async def work(repeat: int) -> None:
            await self._spread(clients, [job(repeat, i) for i in range(500)])

        await work(-1)
        await self.measure("server-side apply of a pod, 64 clients", "us", 1200, 500, work)

    async def idle(self) -> list[Figure]:
        """What watches on which nothing happens add to a server just started, each on a TLS connection of its own.

        On a server that has worked before they would seem to need less: they take what it has not given back.
        """
        before = self._memory()
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps?watch=true"
        sockets = await asyncio.to_thread(idle_watches, self.where, path, IDLE_WATCHES)
        await asyncio.sleep(self.rest)
        self._add(f"memory (RSS) that {IDLE_WATCHES:,} idle watches add", "MiB", self._memory() - before, 143)
        for each in sockets:
            each.close()
        return self.figures

    async def _changes(self, one: Connection, mark: str) -> None:
        """Change CHANGES pods, one after the other."""
        body = json.dumps({"metadata": {"annotations": {"example.org/watched": mark}}}).encode()
        for number in range(CHANGES):
            status, answer = await one.call("PATCH", f"{PODS}/p{number:05d}", body, MERGE)
            assert status == 200, answer

    async def _watch(self, one: Connection, watchers: int, alone: float) -> None:
        """CPU of a delivery, less what the changes cost `alone`: of `watchers` streams, a tenth wants each change."""
        watching = await self.connections(watchers)
        _, listing = await one.call("GET", f"{PODS}?limit=1")
        revision = json.loads(listing)["metadata"]["resourceVersion"]
        seen = [0] * watchers
        opened = asyncio.Barrier(watchers + 1)

        async def follow(number: int, client: Connection) -> None:
            client.send("GET", f"{PODS}?watch=true&resourceVersion={revision}&labelSelector=shard%3D{number % 10}")
            status, _ = await client.head()
            assert status == 200
            await opened.wait()
            while data := await client.chunk():
                seen[number] += data.count(b"\n")

        tasks = [asyncio.create_task(follow(n, c)) for n, c in enumerate(watching)]
        async with asyncio.timeout(60):
            await opened.wait()
        done = 0

        async def work(repeat: int) -> None:
            nonlocal done
            await self._changes(one, f"{watchers}-{repeat}")
            done += CHANGES // 10
            async with asyncio.timeout(60):
                while min(seen) < done:
                    await asyncio.sleep(0.01)

        deliveries = CHANGES * watchers // 10
        whole = await self.costs("us", deliveries, work)
        net = [value - alone * CHANGES / deliveries for value in whole]
        self._add(f"WATCH, a delivery with {watchers} watchers", "us", net, 15)
        for task, client in zip(tasks, watching, strict=True):
            task.cancel()
            client.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _memory(self) -> float:
        return sum(map(rss, self.pids)) / 2**20


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--pid", type=int, action="append", required=True)
    parser.add_argument("--idle", action="store_true", help="only what idle watches hold; the server is a fresh one")
    parser.add_argument("--rest", type=float, default=65.0, help="seconds of rest before memory is read")
    chosen = parser.parse_args()
    bench = Bench(target(chosen.kubeconfig), chosen.pid, chosen.rest)
    show(asyncio.run(bench.idle() if chosen.idle else bench.run()))


if __name__ == "__main__":
    main()
