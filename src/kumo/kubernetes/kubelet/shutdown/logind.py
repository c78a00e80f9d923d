"""systemd-logind over D-Bus: the lock that delays a shutdown, and the signal that one is about to come.

Source: org.freedesktop.login1(5), https://www.freedesktop.org/wiki/Software/systemd/inhibit/. The library is loaded
with the first connection: most machines have no grace period configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
_LOGIN, _LOGIN_PATH, _MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
_BUS, _BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
_SYSTEMD, _SYSTEMD_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_SIGHUP = 1
_PATIENCE = 10.0
"""Seconds for an answer."""


class LogindError(Exception):
    """logind can't be reached, or refuses; the message says what was asked."""


def system_bus() -> str:
    """The address of the machine's bus."""
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS


def is_there(address: str) -> bool:
    """Whether there may be a bus at the address: its socket, if that is a file, exists."""
    path = address.removeprefix("unix:path=").partition(",")[0]
    return not address.startswith("unix:path=") or Path(path).is_socket()


class Logind:
    """One connection. `override` is the file that tells logind to wait longer."""

    def __init__(self, bus: MessageBus, override: Path) -> None:
        self._bus = bus
        self._override = override
        self._owner = ""
        self._heard: asyncio.Queue[bool | None] = asyncio.Queue()

    @classmethod
    async def connect(cls, address: str, override: Path) -> Logind:
        """Connect to the bus (the machine's if the address is empty), and listen. Raises LogindError."""
        address = address or system_bus()
        if not is_there(address):
            raise LogindError(f"there is no D-Bus at {address}")
        from dbus_fast.aio import MessageBus
        from dbus_fast.errors import DBusFastError

        bus = None
        try:
            async with asyncio.timeout(_PATIENCE):
                bus = await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()
                found = cls(bus, override)
                await found._listen()
                return found
        except (OSError, TimeoutError, EOFError, DBusFastError, LogindError, ValueError) as error:
            if bus is not None:
                bus.disconnect()
            raise LogindError(f"can't connect to D-Bus at {address}: {error}") from error

    def close(self) -> None:
        """Leave the bus. Locks are files of their own: they hold on."""
        self._bus.disconnect()

    async def delay(self) -> float:
        """Seconds that logind waits at most (`InhibitDelayMaxUSec`). Raises LogindError."""
        body = await self._call(
            _LOGIN, _LOGIN_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", [_MANAGER, "InhibitDelayMaxUSec"]
        )
        value = getattr(body[0], "value", None) if body else None
        if not isinstance(value, int):
            raise LogindError("InhibitDelayMaxUSec from logind is not a uint64 as expected")
        return value / 1_000_000

    async def inhibit(self) -> int:
        """Take a lock that delays shutdowns: a file descriptor, given back by closing it. Raises LogindError."""
        words = ["shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay"]
        reply = await self._ask(_LOGIN, _LOGIN_PATH, _MANAGER, "Inhibit", "ssss", words)
        if not reply.body or reply.body[0] >= len(reply.unix_fds):
            raise LogindError("failed storing inhibit lock file descriptor: there is none in the answer")
        return int(reply.unix_fds[reply.body[0]])

    async def wait_longer(self, seconds: float) -> None:
        """Tell logind to wait as long, if it would not: by a file, which it reads anew. Raises LogindError."""
        now = await self.delay()
        if seconds <= now:
            return
        try:
            await asyncio.to_thread(self._write, seconds)
        except OSError as error:
            raise LogindError(
                f"failed writing logind shutdown inhibit override file {self._override}: {error}"
            ) from None
        words = ["systemd-logind.service", "all", _SIGHUP]
        await self._call(_SYSTEMD, _SYSTEMD_PATH, f"{_SYSTEMD}.Manager", "KillUnit", "ssi", words)
        for pause in (0.1, 0.2, 0.4, 0.8, 1.6):  # nothing tells when it has read the file
            now = await self.delay()
            if seconds <= now:
                return
            await asyncio.sleep(pause)
        raise LogindError(
            "node shutdown manager was timed out after 5 attempts waiting for logind InhibitDelayMaxSec to update to "
            f"{seconds:g}s (ShutdownGracePeriod), current value is {now:g}s"
        )

    async def shutdowns(self) -> AsyncIterator[bool]:
        """Whether a shutdown is about to come (true) or was cancelled; ends with the connection, or with logind."""
        while True:
            heard = await self._heard.get()
            if heard is None:
                return
            yield heard

    def _write(self, seconds: float) -> None:
        self._override.parent.mkdir(parents=True, exist_ok=True)
        self._override.write_text(f"# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={seconds:.0f}\n")

    async def _listen(self) -> None:
        for rule in (
            f"type='signal',sender='{_LOGIN}',interface='{_MANAGER}',member='PrepareForShutdown',path='{_LOGIN_PATH}'",
            f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{_LOGIN}'",
        ):
            await self._call(_BUS, _BUS_PATH, _BUS, "AddMatch", "s", [rule])
        self._bus.add_message_handler(self._hear)
        # Asking wakes a logind that is started by its name; the owner is who may say that the machine goes down.
        await self.delay()
        self._owner = (await self._call(_BUS, _BUS_PATH, _BUS, "GetNameOwner", "s", [_LOGIN]))[0]
        self._watch = asyncio.create_task(self._end(), name="logind")

    async def _end(self) -> None:
        with contextlib.suppress(Exception):  # whatever ended it, it has ended
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._heard.put_nowait(None)

    def _hear(self, message: Message) -> bool:
        """Signals of logind itself; anybody may send one that looks alike."""
        body = message.body
        changed = message.member == "NameOwnerChanged" and message.sender == _BUS and body and body[0] == _LOGIN
        if changed and self._owner and body[2] != self._owner:
            self._heard.put_nowait(None)
        said = (message.member, message.interface, message.sender)
        if said == ("PrepareForShutdown", _MANAGER, self._owner) and body and isinstance(body[0], bool):
            self._heard.put_nowait(body[0])
        return False

    async def _call(
        self, name: str, path: str, interface: str, member: str, signature: str, body: Sequence[Any]
    ) -> list[Any]:
        return list((await self._ask(name, path, interface, member, signature, body)).body)

    async def _ask(
        self, name: str, path: str, interface: str, member: str, signature: str, body: Sequence[Any]
    ) -> Message:
        from dbus_fast import Message, MessageType
        from dbus_fast.errors import DBusFastError

        request = Message(
            destination=name, path=path, interface=interface, member=member, signature=signature, body=list(body)
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                reply = await self._bus.call(request)
        except (OSError, EOFError, TimeoutError, DBusFastError) as error:
            raise LogindError(f"{interface}.{member}: {error or 'no answer'}") from error
        if reply is None or reply.message_type is MessageType.ERROR:
            said = " ".join(str(part) for part in reply.body) if reply is not None else "no answer"
            raise LogindError(f"{interface}.{member}: {said}")
        return reply
