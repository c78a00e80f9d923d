"""The monitor of all resources, when it is begun again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kumo.api.objects import Object, name_of
from kumo.api.resources import CRDS, GVR
from kumo.kubernetes.controller_manager.monitor import ResourceMonitor
from kumo.machinery.informer import Informers
from support.apiserver import running_apiserver

pytestmark = pytest.mark.component

THINGS = GVR("example.com", "v1", "things")
DEFINITION: Object = {
    "metadata": {"name": "things.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


async def test_a_monitor_that_is_begun_again_goes_on_following_custom_resources(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server, asyncio.timeout(60):
        client = server.client
        await client.create(CRDS, DEFINITION)
        informers = Informers(client)
        monitor = ResourceMonitor(client, informers)
        told: list[tuple[str, bool]] = []
        news = asyncio.Event()

        def observer(gvr: GVR, old: Object | None, new: Object | None) -> None:
            if gvr == THINGS:
                told.append((name_of(new or old or {}), new is not None))
                news.set()

        async def until(*wanted: tuple[str, bool]) -> None:
            while told != list(wanted):
                news.clear()
                await news.wait()

        monitor.observe(observer)
        running = [asyncio.create_task(informers.run()), asyncio.create_task(monitor.run())]
        while monitor.informer("example.com", "things") is None:
            await asyncio.sleep(0.01)
        await client.create(THINGS, {"metadata": {"name": "a", "namespace": "default"}})
        await until(("a", True))
        running.pop().cancel()
        await client.delete(THINGS, "a", "default")
        running.append(asyncio.create_task(monitor.run()))
        await until(("a", True), ("a", False))
        await client.create(THINGS, {"metadata": {"name": "b", "namespace": "default"}})
        await until(("a", True), ("a", False), ("b", True))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
