"""Device plugins that misbehave, against the kubelet's part for them alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from kumo.api.objects import Object
from kumo.kubernetes.kubelet.devices.manager import DeviceManager
from kumo.kubernetes.kubelet.devices.stubs import deviceplugin_pb2 as pb
from support.device_plugin import DevicePlugin, until

pytestmark = pytest.mark.component
THING = "example.com/thing"


@contextlib.asynccontextmanager
async def managing(folder: Path, grace: float = 60.0) -> AsyncIterator[DeviceManager]:
    manager = DeviceManager(folder, lambda: None, lambda uid: None, own=["example.com/own"], grace=grace)
    task = asyncio.create_task(manager.run())
    try:
        await until((folder / "kubelet.sock").is_socket)
        yield manager
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pod(uid: str, count: int) -> Object:
    container = {"name": "main", "resources": {"limits": {THING: str(count), "cpu": "1"}}}
    return {"metadata": {"uid": uid}, "spec": {"containers": [container]}}


async def test_device_plugin_that_stays_away_takes_its_resource_with_it(tmp_path: Path) -> None:
    async with managing(tmp_path, grace=0.3) as manager:
        plugin = DevicePlugin(THING, tmp_path, tmp_path, "a", "b")
        async with plugin.serving():
            await plugin.register()
            await until(lambda: manager.offered() == ({THING: "2"}, {THING: "2"}))
        await until(lambda: manager.offered() == ({THING: "2"}, {THING: "0"}))
        await until(lambda: manager.offered() == ({THING: "0"}, {THING: "0"}))
        assert not manager.waits(pod("u", 1)), "it is nobody's resource any more"
    async with managing(tmp_path) as manager:
        assert manager.offered() == ({}, {})


async def test_device_plugin_registered_many_times_at_once_counts_once(tmp_path: Path) -> None:
    async with managing(tmp_path) as manager:
        plugin = DevicePlugin(THING, tmp_path, tmp_path, "a", "b")
        async with plugin.serving():
            await asyncio.gather(*(plugin.register() for _ in range(20)))
            await until(lambda: manager.offered() == ({THING: "2"}, {THING: "2"}))
            await plugin.set(a=True)
            await until(lambda: manager.offered() == ({THING: "1"}, {THING: "1"}))
            refusals = await asyncio.gather(*(manager.admit(pod(str(n), 1), ()) for n in range(10)))
            assert sum(r is None for r in refusals) == 1
            assert {r.reason for r in refusals if r} == {"UnexpectedAdmissionError"}
            assert plugin.of("Allocate") == [["a"]]
            own = DevicePlugin("example.com/own", tmp_path, tmp_path, "a")
            own.socket = plugin.socket
            with pytest.raises(grpc.aio.AioRpcError, match="the node offers it itself"):
                await own.register()
        await until(lambda: manager.offered() == ({THING: "1"}, {THING: "0"}))


async def test_device_plugin_that_hangs_holds_nothing_for_a_pod_that_goes(tmp_path: Path) -> None:
    async with managing(tmp_path) as manager:
        plugin = DevicePlugin(THING, tmp_path, tmp_path, "a")
        asked, hang = asyncio.Event(), asyncio.Event()
        answer = plugin._allocate

        async def slow(request: Any, context: Any) -> Any:
            asked.set()
            await hang.wait()
            return await answer(request, context)

        plugin._allocate = slow  # type: ignore[method-assign]
        async with plugin.serving():
            await plugin.register()
            await until(lambda: manager.offered()[1] == {THING: "1"})
            first = asyncio.create_task(manager.admit(pod("first", 1), ()))
            second = asyncio.create_task(manager.admit(pod("second", 1), ()))
            await asked.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            manager.forget("first")
            hang.set()
            assert await second is None
            assert set(manager.ledger.claims) == {"second"}
            manager.forget("second")
            assert await manager.admit(pod("third", 1), ()) is None


async def test_device_plugin_whose_list_is_not_one_is_away(tmp_path: Path) -> None:
    class Noise:
        def SerializeToString(self) -> bytes:
            return b"\xff\xff\xff"

    async with managing(tmp_path) as manager:
        plugin = DevicePlugin(THING, tmp_path, tmp_path, "a")
        loud = asyncio.Event()

        async def noise(_: Any, __: Any) -> AsyncIterator[Any]:
            yield pb.ListAndWatchResponse(devices=[pb.Device(ID="a", health="Healthy")])
            await loud.wait()
            yield Noise()
            await asyncio.Event().wait()

        plugin._list = noise  # type: ignore[method-assign]
        async with plugin.serving():
            await plugin.register()
            await until(lambda: manager.offered()[1] == {THING: "1"})
            loud.set()
            await until(lambda: manager.offered() == ({THING: "1"}, {THING: "0"}))
            refusal = await manager.admit(pod("u", 1), ())
            assert refusal is not None
            assert f"no healthy devices present; cannot allocate unhealthy devices {THING}" in refusal.message
