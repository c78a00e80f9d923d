"""What CEL rules cost: microseconds of CPU time for a custom object created in process, without rules and with five.

.venv/bin/python -m benchmarks.custom
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import CRDS, GVR
from kumo.api.users import AUTHENTICATED_GROUP, MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.config import ApiServerConfig
from kumo.kubernetes.apiserver.server import ApiServer
from kumo.machinery import tls
from kumo.machinery.client import Client
from kumo.machinery.transport import InProcessTransport
from kumo.store.sqlite import SqliteStore

OBJECTS = 500
REPEATS = 5
RULES = (
    "self.min <= self.max",
    "self.replicas <= 10",
    "!has(self.name) || self.name.startsWith('a')",
    "self.tags.all(t, t.size() < 20)",
    "!has(self.mode) || self.mode in ['x', 'y']",
)


def definition(kind: str, rules: tuple[str, ...]) -> Object:
    """A definition whose spec obeys the rules."""
    text = {"type": "string", "maxLength": 64}
    number = {"type": "integer"}
    spec: dict[str, Any] = {
        "type": "object",
        "properties": {
            **dict.fromkeys(("min", "max", "replicas"), number),
            **dict.fromkeys(("name", "mode"), text),
            "tags": {"type": "array", "maxItems": 10, "items": text},
        },
    }
    if rules:
        spec["x-kubernetes-validations"] = [{"rule": rule} for rule in rules]
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.bench.kumo.dev"},
        "spec": {
            "group": "bench.kumo.dev",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [version],
        },
    }


async def turn(client: Client, kind: str, number: int) -> float:
    """Microseconds for one creation, of many in one turn."""
    gvr = GVR("bench.kumo.dev", "v1", f"{kind.lower()}s")
    spec = {"min": 1, "max": 2, "replicas": 3, "name": "abc", "tags": ["a", "b", "c"], "mode": "x"}
    began = time.process_time()
    for index in range(OBJECTS):
        head = {"apiVersion": "bench.kumo.dev/v1", "kind": kind, "metadata": {"name": f"o{number}-{index}"}}
        await client.create(gvr, {**head, "spec": spec}, "default")
    return (time.process_time() - began) / OBJECTS * 1e6


async def measure(client: Client) -> tuple[float, float]:
    """The medians without and with rules, of turns side by side; the first turn of each only warms up."""
    await client.create(CRDS, definition("Plain", ()))
    await client.create(CRDS, definition("Ruled", RULES))
    turns = [(await turn(client, "Plain", n), await turn(client, "Ruled", n)) for n in range(REPEATS + 1)][1:]
    return statistics.median(t[0] for t in turns), statistics.median(t[1] for t in turns)


async def run() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        config = ApiServerConfig(
            service_account_key=tls.ensure_signing_key(place / "sa.key"), advertise_address="192.0.2.1"
        )
        server = ApiServer(SqliteStore(place / "kumo.db"), config)
        await server.start()
        task = asyncio.create_task(server.run())
        admin = UserInfo("kubernetes-admin", (MASTERS_GROUP, AUTHENTICATED_GROUP))
        client = Client(InProcessTransport(server.handle, admin))
        try:
            plain, ruled = await measure(client)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await server.stop()
    print(f"CREATE custom object without rules    {plain:7.0f} us")
    print(f"CREATE custom object with five rules  {ruled:7.0f} us  (rules: {ruled - plain:.0f} us)")


if __name__ == "__main__":
    asyncio.run(run())
