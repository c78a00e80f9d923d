"""Plugins that register: one that hangs holds up nobody, and one that has gone is taken out of the cluster at last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from kumo.kubernetes.kubelet.csi.csi_node import CsiNodeKeeper, DriverInfo
from kumo.kubernetes.kubelet.csi.drivers import Drivers
from kumo.kubernetes.kubelet.csi.handler import CsiHandler
from kumo.kubernetes.kubelet.csi.registration import PluginWatcher
from support.csi_driver import FolderDriver

pytestmark = pytest.mark.component
NAME = "folders.example.com"


class Book:
    """A handler that notes who came and went; a change wakes whoever waits."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.changed = asyncio.Event()

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        self.known.add(name)
        self.changed.set()

    async def unregister(self, name: str, endpoint: str) -> None:
        self.known.discard(name)
        self.changed.set()

    async def until(self, *names: str) -> None:
        async with asyncio.timeout(30):
            while self.known != set(names):
                await self.changed.wait()
                self.changed.clear()


async def test_a_plugin_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    folder, book = tmp_path / "r", Book()
    folder.mkdir()

    writers: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_unix_server(silent, folder / "hangs.sock")
    watching = asyncio.create_task(PluginWatcher(folder, {"CSIPlugin": book}).run())
    try:
        async with asyncio.timeout(8):  # less than the one that hangs is waited for
            async with FolderDriver(NAME, tmp_path / "data").registered(folder):
                await book.until(NAME)
            await book.until()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Keeper:
    """Tells the cluster, which can't be reached twice."""

    def __init__(self) -> None:
        self.refusals = 2
        self.told: list[str] = []

    async def install(self, info: DriverInfo) -> None:
        self.told.append(f"+{info.name}")

    async def uninstall(self, name: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("nobody answers")
        self.told.append(f"-{name}")


async def test_a_driver_that_has_gone_is_told_until_the_cluster_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kumo.kubernetes.kubelet.csi.handler._RETRY_FIRST", 0.01)
    keeper = Keeper()
    drivers = Drivers()
    handler = CsiHandler(drivers, cast("CsiNodeKeeper", cast(Any, keeper)), lambda path: True)
    driver = FolderDriver(NAME, tmp_path / "data")
    async with driver.registered(tmp_path):
        endpoint = str(driver.socket)
        await handler.register(NAME, endpoint, ["1.0.0"])
        await handler.unregister(NAME, endpoint)
        assert keeper.told == [f"+{NAME}", f"-{NAME}"]
        # One that comes back while the cluster can't be told stays known there.
        await handler.register(NAME, endpoint, ["1.0.0"])
        keeper.refusals = 1000
        leaving = asyncio.create_task(handler.unregister(NAME, endpoint))
        while keeper.refusals > 998:
            await asyncio.sleep(0.005)
        await handler.register(NAME, endpoint, ["1.0.0"])
        async with asyncio.timeout(10):
            await leaving
        assert keeper.told[-1] == f"+{NAME}"
    await drivers.close()
