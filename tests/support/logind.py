"""A stand-in for systemd-logind on a bus of its own: real D-Bus, real locks, and a machine that never goes down."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from dbus_fast import PropertyAccess
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusBool, DBusInt32, DBusSignature, DBusStr, DBusUInt64, DBusUnixFd
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


class Manager(ServiceInterface):
    """org.freedesktop.login1.Manager, as far as a kubelet uses it."""

    def __init__(self, override: Path, seconds: int) -> None:
        super().__init__("org.freedesktop.login1.Manager")
        self.override = override
        self.seconds = seconds
        self.locks: list[int] = []
        self.asked: list[tuple[str, ...]] = []

    @dbus_method()
    def Inhibit(self, what: DBusStr, who: DBusStr, why: DBusStr, mode: DBusStr) -> DBusUnixFd:
        read, write = os.pipe()
        self.locks.append(read)
        self.asked.append((what, who, why, mode))
        asyncio.get_running_loop().call_later(0.5, os.close, write)  # the asker has its own copy by then
        return write

    @dbus_property(access=PropertyAccess.READ)
    def InhibitDelayMaxUSec(self) -> DBusUInt64:
        return self.seconds * 1_000_000

    @dbus_signal()
    def PrepareForShutdown(self, coming: bool) -> DBusBool:
        return coming


class Systemd(ServiceInterface):
    """org.freedesktop.systemd1.Manager: sends logind the signal to read its files anew."""

    def __init__(self, manager: Manager) -> None:
        super().__init__("org.freedesktop.systemd1.Manager")
        self.manager = manager
        self.killed: list[tuple[str, str, int]] = []

    @dbus_method()
    def KillUnit(self, name: DBusStr, whom: DBusStr, signal: DBusInt32) -> Annotated[None, DBusSignature("")]:
        self.killed.append((name, whom, signal))
        for line in self.manager.override.read_text().splitlines():
            if line.startswith("InhibitDelayMaxSec="):
                self.manager.seconds = int(line.partition("=")[2])


class Machine:
    """A bus with a logind; `address` is the bus's, `override` the file that a kubelet may write."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self.address = f"unix:path={folder / 'bus'}"
        self.override = folder / "logind.conf.d" / "99-kubelet.conf"
        self.manager = Manager(self.override, seconds)
        self.systemd = Systemd(self.manager)
        self._folder = folder
        self._daemon: asyncio.subprocess.Process | None = None
        self._bus: MessageBus | None = None

    async def start(self) -> None:
        """Start the bus and logind."""
        config = self._folder / "bus.conf"
        config.write_text(_CONFIG.format(socket=self._folder / "bus"))
        (self._folder / "bus").unlink(missing_ok=True)
        self._daemon = await asyncio.create_subprocess_exec(
            "dbus-daemon", "--nofork", "--nopidfile", f"--config-file={config}", stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    self._bus = await MessageBus(bus_address=self.address, negotiate_unix_fd=True).connect()
                    break
                await asyncio.sleep(0.02)
            self._bus.export("/org/freedesktop/login1", self.manager)
            self._bus.export("/org/freedesktop/systemd1", self.systemd)
            await self._bus.request_name("org.freedesktop.systemd1")
            await self._bus.request_name("org.freedesktop.login1")

    async def stop(self) -> None:
        """End the bus, and with it logind. Locks stay with who has them."""
        if self._bus is not None:
            self._bus.disconnect()
        if self._daemon is not None and self._daemon.returncode is None:
            self._daemon.terminate()
            await self._daemon.wait()

    async def forget_logind(self) -> None:
        """logind is no longer there; the bus is."""
        assert self._bus is not None
        await self._bus.release_name("org.freedesktop.login1")

    async def say(self, *, coming: bool) -> None:
        """A shutdown is about to come, or was cancelled."""
        self.manager.PrepareForShutdown(coming)

    async def pretend(self, *, coming: bool) -> None:
        """Somebody else says it."""
        bus = await MessageBus(bus_address=self.address).connect()
        try:
            stranger = Manager(self.override, 0)
            bus.export("/org/freedesktop/login1", stranger)
            stranger.PrepareForShutdown(coming)
            await bus.request_name("org.example.Stranger")  # an answer: the signal has been sent
        finally:
            bus.disconnect()

    async def released(self, index: int = -1, timeout: float = 60.0) -> None:
        """Return once a lock (the newest) has been given back."""
        async with asyncio.timeout(timeout):
            while not self.is_free(index):
                await asyncio.sleep(0.02)

    def is_free(self, index: int = -1) -> bool:
        """Whether a lock has been given back."""
        lock = self.manager.locks[index]
        os.set_blocking(lock, False)
        try:
            return os.read(lock, 1) == b""
        except BlockingIOError:
            return False

    async def locks(self, count: int, timeout: float = 60.0) -> None:
        """Return once so many locks have been asked for."""
        async with asyncio.timeout(timeout):
            while len(self.manager.locks) < count:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running_logind(folder: Path, seconds: int = 5) -> AsyncIterator[Machine]:
    """A machine whose logind waits `seconds` at most, until it is told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = Machine(folder, seconds)
    await machine.start()
    try:
        yield machine
    finally:
        await machine.stop()
        for lock in machine.manager.locks:
            os.close(lock)
