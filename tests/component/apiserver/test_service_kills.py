"""kill -9 of the server while services come and go: addresses and services agree, none is lost, none given twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import SERVICES
from kumo.machinery import tls
from kumo.machinery.client import Client
from kumo.machinery.transport import HttpTransport
from kumo.store.sqlite import SqliteStore
from support.etcd import free_ports
from support.kills import server_program

pytestmark = pytest.mark.component
KILLS = 5


async def come_and_go(client: Client, name: str, kept: dict[str, str], chance: random.Random) -> None:
    """Create and delete services for ever; `kept` are the addresses of those that were acknowledged and not deleted."""
    body: dict[str, Any] = {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    while True:
        with suppress(StatusError, ConnectionError, OSError):
            made = await client.create(SERVICES, body, "default")
            kept[name] = made["spec"]["clusterIP"]
            if chance.random() < 0.7:
                del kept[name]
                await client.delete(SERVICES, name, "default")
        await asyncio.sleep(0)


async def test_no_address_leaks_when_the_server_is_killed(tmp_path: Path) -> None:
    port, chance = free_ports(1)[0], random.Random(5)
    kept: dict[str, str] = {}
    directory = tmp_path / "server"
    async with server_program(directory, port) as (start, child):
        pki = directory / "pki"
        admin = tls.KeyPair(pki / "admin.crt", pki / "admin.key")
        transport = HttpTransport(f"https://127.0.0.1:{port}", ca=pki / "ca.crt", cert=admin.cert, key=admin.key)
        client = Client(transport)
        tasks = [asyncio.create_task(come_and_go(client, f"s{i}", kept, chance)) for i in range(16)]
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 0.3))
            os.kill(child, signal.SIGKILL)
            child = await start()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await transport.close()
        os.kill(child, signal.SIGKILL)
    store = SqliteStore(directory / "store" / "kumo.db")
    await store.start()
    try:
        services = [json.loads(kv.value) for kv in (await store.range("/registry/core/services/")).kvs]
        addresses = [json.loads(kv.value) for kv in (await store.range("/registry/networking.k8s.io/ipaddresses/")).kvs]
    finally:
        await store.stop()
    held = {a["metadata"]["name"]: a["spec"]["parentRef"]["name"] for a in addresses}
    assert held == {s["spec"]["clusterIP"]: s["metadata"]["name"] for s in services}
    assert len(services) == len({s["spec"]["clusterIP"] for s in services})
    ports = [p["nodePort"] for s in services for p in s["spec"]["ports"] if "nodePort" in p]
    assert len(ports) == len(set(ports))
    assert kept and {(ip, name) for name, ip in kept.items()} <= set(held.items())
