"""The launcher's socket and the processes below it, without libvirt."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kumo.kubevirt.virt_handler.launcher_client import LauncherClient, LauncherError, LauncherGone, connect
from kumo.kubevirt.virt_launcher.rpc import Body, Refused, Server

pytestmark = pytest.mark.component


def call(method: str, params: Body) -> Body:
    if method == "Echo":
        return params
    if method == "Sleep":
        time.sleep(params["seconds"])
        return {}
    if method == "Refuse":
        raise Refused("NotNow", "not now")
    raise ZeroDivisionError("a bug")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(str(tmp_path / "s"), call, lambda: {"event": "hello"})
    made.start()
    yield made
    made.close()


class Peer:
    """A client and what it has heard."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def connect(self, folder: Path) -> LauncherClient:
        return await connect(folder, "s", self.events.put_nowait, self.closed.set)


async def test_requests_answers_and_events(server: Server, tmp_path: Path) -> None:
    peer = Peer()
    client = await peer.connect(tmp_path)
    assert await peer.events.get() == {"event": "hello"}
    assert client.pid == os.getpid()
    assert await client.call("Echo", {"text": "ü\n"}) == {"text": "ü\n"}
    assert await client.call("Echo", {"big": "x" * (1 << 20)}) == {"big": "x" * (1 << 20)}
    with pytest.raises(LauncherError, match="not now") as refused:
        await client.call("Refuse")
    assert refused.value.code == "NotNow"
    with pytest.raises(LauncherError, match="a bug") as broken:
        await client.call("Other")
    assert broken.value.code == "Internal"
    server.publish({"event": "news"})
    assert await peer.events.get() == {"event": "news"}
    await client.close()


async def test_everybody_hears_events(server: Server, tmp_path: Path) -> None:
    peers = [Peer(), Peer()]
    clients = [await peer.connect(tmp_path) for peer in peers]
    for peer in peers:
        assert (await peer.events.get())["event"] == "hello"
    server.publish({"event": "news"})
    for peer in peers:
        assert (await peer.events.get())["event"] == "news"
    for client in clients:
        await client.close()


async def test_a_slow_request_times_out_alone(server: Server, tmp_path: Path) -> None:
    peer = Peer()
    client = await peer.connect(tmp_path)
    with pytest.raises(TimeoutError):
        await client.call("Sleep", {"seconds": 0.3}, timeout=0.05)
    assert await client.call("Echo", {"n": 1}) == {"n": 1}
    await client.close()


async def test_the_end_of_the_launcher_is_noticed(server: Server, tmp_path: Path) -> None:
    peer = Peer()
    client = await peer.connect(tmp_path)
    await peer.events.get()
    waiting = asyncio.create_task(client.call("Sleep", {"seconds": 5}))
    await asyncio.sleep(0)
    server.close()
    with pytest.raises(LauncherGone):
        await waiting
    await asyncio.wait_for(peer.closed.wait(), 5)
    with pytest.raises(LauncherGone):
        await client.call("Echo")
    with pytest.raises(LauncherGone):
        await peer.connect(tmp_path)


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(LauncherGone):
        await Peer().connect(tmp_path)


CHILDREN = """
import os, threading
from kumo.kubevirt.virt_launcher.children import Children, CommandFailed
children, environment = Children(), {"PATH": "/usr/bin:/bin"}
children.run(["/bin/true"], environment)
try:
    children.run(["/bin/sh", "-c", "echo trouble >&2; exit 3"], environment)
except CommandFailed as error:
    print(error)
try:
    children.run(["/bin/there-is-no-such"], environment)
except FileNotFoundError:
    print("no such program")
ended, codes = threading.Event(), []
pid = children.start(["/bin/sleep", "100"], environment, lambda code: (codes.append(code), ended.set()))
os.kill(pid, 9)
print(ended.wait(5), codes)
"""


def test_children() -> None:
    # In a process of its own: the reaper takes the exit of every child, also of those that other tests start.
    done = subprocess.run([sys.executable, "-c", CHILDREN], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == [
        "/bin/sh -c echo trouble >&2; exit 3: exit code 3: trouble",
        "no such program",
        "True [-9]",
    ]
