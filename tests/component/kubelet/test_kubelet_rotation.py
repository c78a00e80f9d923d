"""What the kubelet replaces under running containers: the file that they log into, the token that they call with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from kumo.kubernetes.kubelet import references
from kumo.kubernetes.kubelet.logs import LogOptions, read_log
from support.kubelet import Node, phase_is, running, running_node

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]
LINES = 150


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    limits = {"log_max_bytes": 2000, "log_max_files": 3, "log_check_seconds": 0.1}
    async with running_node(tmp_path_factory.mktemp("node"), resync_seconds=0.2, **limits) as found:
        yield found


def log_of(node: Node, name: str) -> Path:
    worker = node.kubelet.find_worker("default", name)
    assert worker is not None
    found = worker.state.container("main")
    assert found is not None
    return Path(found.log_path)


async def test_a_container_writes_on_into_the_next_log(node: Node) -> None:
    """containerd opens the new file when it is told to, and who follows misses no line."""
    script = f"until [ -e /tmp/go ]; do sleep 0.1; done; i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; "
    script += "[ $((i % 10)) -gt 0 ] || sleep 0.1; done"
    await node.create("talker", "sh", "-c", script, restartPolicy="Never")
    await node.until("talker", running)
    path = log_of(node, "talker")
    worker = node.kubelet.find_worker("default", "talker")
    assert worker is not None
    container = worker.state.containers[0].id
    ended = asyncio.Event()
    seen: list[bytes] = []

    async def follow() -> None:
        async for chunk in read_log(path, LogOptions(follow=True), lambda: not ended.is_set()):
            seen.append(chunk)

    task = asyncio.create_task(follow())
    await node.containerd.engine.runtime.exec_sync(container, ["touch", "/tmp/go"], 10)
    await node.until("talker", phase_is("Succeeded"), timeout=60)
    ended.set()
    async with asyncio.timeout(20):
        await task
    assert b"".join(seen).decode().split("\n")[:-1] == [f"line {n}" for n in range(1, LINES + 1)]
    files = [path, *path.parent.glob("0.log.*")]
    assert 2 <= len(files) <= 3
    assert all(f.stat().st_size < 20_000 for f in files)
    await node.remove("talker")


async def token(node: Node) -> str:
    worker = node.kubelet.find_worker("default", "caller")
    assert worker is not None
    container = worker.state.containers[0].id
    return (await node.containerd.engine.runtime.exec_sync(container, ["cat", "/t/token"], 10)).stdout.decode()


async def test_a_token_is_replaced_in_time(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "test"}}
    await node.create(
        "caller",
        volumes=[{"name": "t", "projected": {"sources": [source]}}],
        container={"volumeMounts": [{"name": "t", "mountPath": "/t"}]},
    )
    await node.until("caller", running)
    first = await token(node)
    await asyncio.sleep(1)  # a token that is not due stays: several looks pass
    assert await token(node) == first and first.count(".") == 2
    later = SimpleNamespace(time=lambda: time.time() + 0.85 * 600, monotonic=time.monotonic)
    monkeypatch.setattr(references, "time", later)
    async with asyncio.timeout(60):
        while (second := await token(node)) == first:
            await asyncio.sleep(0.05)
    assert second.count(".") == 2
    await node.remove("caller")
