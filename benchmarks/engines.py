"""What a request costs the API server on each engine: the file, and an etcd of three members with TLS on loopback.

    python -m benchmarks.engines

In process, without HTTP, RBAC and admission as always; CPU time is that of this process (clients among it), not etcd's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from kumo.api.resources import PODS
from kumo.machinery.client import Client
from kumo.store.base import Store
from kumo.store.etcd.engine import EtcdStore

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

CLIENTS = 64


async def measure(name: str, count: int, clients: int, work: Callable[[str], Coroutine[Any, Any, Any]]) -> None:
    async def one(number: int) -> None:
        for turn in range(count):
            await work(f"{clients}-{number}-{turn}")

    wall, cpu, total = time.perf_counter(), time.process_time(), count * clients
    await asyncio.gather(*map(one, range(clients)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:30} {cpu / total * 1e6:7.0f} us CPU {wall / count * 1e6:9.0f} us until answered")


async def run(engine: str, directory: Path, store: Store | None) -> None:
    from support.apiserver import running_apiserver

    async with running_apiserver(directory, store=store) as server:
        client: Client = server.client

        async def create(name: str) -> None:
            pod = {"metadata": {"name": f"p{name}"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
            await client.create(PODS, pod, "default")

        async def get(_: str) -> None:
            await client.get(PODS, "p1-0-0", "default")

        await measure(f"{engine} CREATE pod, alone", 100, 1, create)
        await measure(f"{engine} CREATE pod, {CLIENTS} at once", 20, CLIENTS, create)
        await measure(f"{engine} GET, alone", 300, 1, get)
        await measure(f"{engine} GET, {CLIENTS} at once", 50, CLIENTS, get)


def main() -> None:
    from support.etcd import EtcdCluster

    cluster = EtcdCluster()
    try:
        cluster.start()
        with TemporaryDirectory(dir="/var/tmp") as one, TemporaryDirectory(dir="/var/tmp") as other:
            uvloop.run(run("sqlite", Path(one), None))
            uvloop.run(run("etcd", Path(other), EtcdStore(cluster.address())))
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
