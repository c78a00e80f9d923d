"""kill -9 of the control plane while jobs of a hundred completions run: each pod is counted once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.errors import StatusError
from kumo.api.objects import Object, is_deleting, name_of, namespace_of, timestamp, uid_of
from kumo.api.resources import GVR, PODS
from kumo.machinery import tls
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.informer import Informers
from kumo.machinery.transport import HttpTransport
from support.etcd import free_ports
from support.kills import server_program

pytestmark = pytest.mark.component
JOBS = GVR("batch", "v1", "jobs")
KILLS = 6


class Node:
    """Says of every pod that it has succeeded, a moment after it appears, until that is acknowledged."""

    def __init__(self, client: Client, informers: Informers, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.succeeded: set[str] = set()
        informers.informer(PODS).on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and not is_deleting(new) and uid_of(new) not in self._tasks:
            self._tasks[uid_of(new)] = asyncio.create_task(self._end(new))

    async def _end(self, pod: Object) -> None:
        await asyncio.sleep(self._chance.uniform(0, 0.3))
        ended = {"exitCode": 0, "startedAt": timestamp(), "finishedAt": timestamp()}
        container = {"name": "c", "image": "a", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": "Succeeded", "containerStatuses": [{**container, "state": {"terminated": ended}}]}
        while uid_of(pod) not in self.succeeded:
            try:
                await self._client.patch(
                    PODS,
                    name_of(pod),
                    {"metadata": {"uid": uid_of(pod)}, "status": status},
                    namespace_of(pod),
                    kind=STRATEGIC_MERGE_PATCH,
                    subresource="status",
                )
                self.succeeded.add(uid_of(pod))
            except (StatusError, OSError, TimeoutError) as error:
                assert not isinstance(error, StatusError) or error.code >= 429, error
                await asyncio.sleep(0.05)


def job(name: str, mode: str) -> Object:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}
    spec = {"completions": 100, "parallelism": 15, "completionMode": mode, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def test_no_completion_is_counted_twice_when_the_control_plane_is_killed(tmp_path: Path) -> None:
    port, chance = free_ports(1)[0], random.Random(100)
    directory = tmp_path / "server"
    async with server_program(directory, port, "controllers") as (start, child):
        pki = directory / "pki"
        admin = tls.KeyPair(pki / "admin.crt", pki / "admin.key")
        transport = HttpTransport(f"https://127.0.0.1:{port}", ca=pki / "ca.crt", cert=admin.cert, key=admin.key)
        client = Client(transport)
        informers = Informers(client)
        node = Node(client, informers, chance)
        running = asyncio.create_task(informers.run())
        names = {"plain": "NonIndexed", "indexed": "Indexed"}
        for name, mode in names.items():
            await client.create(JOBS, job(name, mode))
        for number in range(KILLS):
            await _until(lambda number=number: len(node.succeeded) >= 200 * number // (KILLS + 1))
            await asyncio.sleep(chance.uniform(0, 0.1))
            os.kill(child, signal.SIGKILL)
            child = await start()
        ended = {name: await _complete(client, name) for name in names}
        pods = (await client.list(PODS, "default")).items
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await transport.close()
        os.kill(child, signal.SIGKILL)
    for found in ended.values():
        status = found["status"]
        assert (status["succeeded"], status.get("failed", 0), status.get("active", 0)) == (100, 0, 0)
        assert status["uncountedTerminatedPods"] == {}
    assert ended["indexed"]["status"]["completedIndexes"] == "0-99"
    assert len(node.succeeded) == len(pods) == 200
    assert not any(pod["metadata"].get("finalizers") for pod in pods)


async def _until(check: Any, timeout: float = 60) -> None:
    async with asyncio.timeout(timeout):
        while not check():
            await asyncio.sleep(0.02)


async def _complete(client: Client, name: str) -> Object:
    async with asyncio.timeout(60):
        while True:
            found = await client.get(JOBS, name, "default")
            if conditions.is_true(found, "Complete"):
                return found
            await asyncio.sleep(0.1)
