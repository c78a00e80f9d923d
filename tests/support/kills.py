"""An API server that is killed again and again under its clients, and what must be true of it afterwards.

Run as a program (`python kills.py DIRECTORY PORT [controllers]`) this is the server's parent: it has imported
everything, and for each line on its standard input makes a child that serves, until somebody kills that; if asked, with
all controllers in its process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvloop

from kumo.api.users import MASTERS_GROUP, UserInfo, service_account_user
from kumo.kubernetes.apiserver.config import ApiServerConfig
from kumo.kubernetes.apiserver.server import ApiServer
from kumo.kubernetes.controller_manager import ControllerManagerConfig, controllers
from kumo.machinery import tls
from kumo.machinery.client import Client
from kumo.machinery.informer import Informers
from kumo.machinery.listener import Listener
from kumo.machinery.transport import HttpTransport, InProcessTransport
from kumo.store.sqlite import SqliteStore
from support.api_load import ApiLoad
from support.history import Change, History

_PREFIX = f"/registry/core/configmaps/{ApiLoad.NAMESPACE}/"


@dataclass(slots=True)
class Outcome:
    """What came of it: how often the server was killed, and what the clients had been told. Raised if impossible."""

    kills: int
    acknowledged: int
    unknown: int
    reads: int
    watched: int
    seconds: float


async def kill_again_and_again(directory: Path, port: int, *, kills: int, writers: int = 16) -> Outcome:
    """Kill the server `kills` times at random moments under `writers` writers. Raises AssertionError.

    Afterwards the history of everything that clients were told is checked against all that the store has.
    """
    began = time.monotonic()
    parent = _parent(directory, port)
    chance = random.Random(kills)
    try:
        child = await _start(parent)
        admin = tls.KeyPair(directory / "pki" / "admin.crt", directory / "pki" / "admin.key")
        ca = directory / "pki" / "ca.crt"
        transport = HttpTransport(f"https://127.0.0.1:{port}", ca=ca, cert=admin.cert, key=admin.key)
        history = History()
        try:
            async with ApiLoad([Client(transport)], history, writers=writers, keys=24) as load:
                for _ in range(kills):
                    await load.progress(20)
                    await asyncio.sleep(chance.uniform(0, 0.12))
                    os.kill(child, signal.SIGKILL)
                    child = await _start(parent)
            await load.finish()
        finally:
            await transport.close()
            _end(parent)
        log = await _log(directory / "store" / "kumo.db")
        await load.check(log)
    finally:
        _end(parent)
    outcomes = [write.outcome for write in history.writes]
    return Outcome(
        kills,
        outcomes.count("ok"),
        outcomes.count("unknown"),
        len(history.reads),
        sum(len(watch.events) for watch in history.watches),
        time.monotonic() - began,
    )


def _parent(directory: Path, port: int, *options: str) -> subprocess.Popen[str]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "server.log").open("wb") as server_log:
        return subprocess.Popen(
            [sys.executable, __file__, str(directory), str(port), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=server_log,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
            text=True,
        )


@asynccontextmanager
async def server_program(
    directory: Path, port: int, *options: str
) -> AsyncIterator[tuple[Callable[[], Awaitable[int]], int]]:
    """A server in a process of its own: how to start it anew once it has been killed, and its pid now.

    With the option `controllers` it is a control plane.
    """
    parent = _parent(directory, port, *options)
    try:
        yield lambda: _start(parent), await _start(parent)
    finally:
        _end(parent)


def _end(parent: subprocess.Popen[str]) -> None:
    """End the server and its parent."""
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdin.close()
    parent.wait()
    parent.stdout.close()


async def _start(parent: subprocess.Popen[str]) -> int:
    """Have a child made; its pid, once it serves."""
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdin.write("start\n")
    parent.stdin.flush()
    line = await asyncio.wait_for(asyncio.to_thread(parent.stdout.readline), 30)
    if not line:
        raise RuntimeError("the server does not start; its log says why")
    return int(line)


async def _log(path: Path) -> list[Change]:
    """Everything that ever happened to the load's objects, from the store itself."""
    store = SqliteStore(path)
    await store.start()
    found: list[Change] = []
    try:
        end = await store.current_revision()
        await store.put(f"{_PREFIX}over", b"")
        async for batch in store.watch(_PREFIX, 0, previous=False):
            for event in batch:
                if event.kv.mod_revision > end:
                    return found
                value = json.loads(event.kv.value)["data"]["v"] if event.type == "put" else None
                found.append(Change(event.kv.mod_revision, event.kv.key.removeprefix(_PREFIX), value))
    finally:
        await store.stop()
    return found


# -- the server's parent ---------------------------------------------------------------------------------------------


async def _serve(directory: Path, port: int, ready: int, *, with_controllers: bool) -> None:
    pki = directory / "pki"
    pki.mkdir(exist_ok=True)
    ca = tls.ensure_ca(pki)
    tls.ensure_client_certificate(ca, pki, "admin", "kubernetes-admin", [MASTERS_GROUP])
    context = tls.server_context(tls.ensure_server_certificate(ca, pki), ca.files.cert)
    # Nothing is compacted: in the end, everything that ever happened is looked at.
    config = ApiServerConfig(
        service_account_key=tls.ensure_signing_key(pki / "sa.key"),
        ca_certificate=ca.files.cert,
        advertise_address="192.0.2.1",
        port=port,
        compaction_interval=1e6,
    )
    server = ApiServer(SqliteStore(directory / "store" / "kumo.db"), config)
    await server.start()
    await Listener(server.handle, port=port, tls=context).start()
    os.write(ready, f"{os.getpid()}\n".encode())
    if not with_controllers:
        await server.run()
        return

    def client_for(name: str) -> Client:
        return Client(InProcessTransport(server.handle, service_account_user("kube-system", name)))

    informers = Informers(Client(InProcessTransport(server.handle, UserInfo("informers", (MASTERS_GROUP,)))))
    manager = ControllerManagerConfig(root_ca=ca.files.cert.read_text())
    async with asyncio.TaskGroup() as group:
        for component in (server, informers, *controllers(client_for, informers, manager)):
            group.create_task(component.run())


def main() -> None:
    """Make a child for each line of the standard input; end with it."""
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    ready = os.dup(1)
    os.dup2(2, 1)  # The log goes to standard output, which is for the pids alone.
    child = 0
    for _ in sys.stdin:
        if child:
            os.waitpid(child, 0)  # It has been killed.
        child = os.fork()
        if not child:
            uvloop.run(_serve(directory, port, ready, with_controllers="controllers" in sys.argv))
            os._exit(0)
    if child:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
