"""Serial and VNC sessions: bytes between a WebSocket and QEMU's unix socket in the pod. The newest session wins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from kumo.machinery.http import WebSocket
from kumo.machinery.relay import until_first
from kumo.machinery.websocket import ABNORMAL

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

_CHUNK = 64 << 10


class Sessions:
    """At most one session a socket; opening another one ends the older."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def is_active(self, uid: str, kind: str) -> bool:
        """Whether somebody is connected to that socket of the VMI now."""
        return (uid, kind) in self._running

    async def run(self, uid: str, kind: str, connect: Connect, socket: WebSocket) -> None:
        """Serve the session until either side ends it or a newer one takes its place. Raises OSError from `connect`."""
        key = (uid, kind)
        # QEMU's chardev takes one client at a time: the older must be gone before the newer connects.
        while (older := self._running.get(key)) is not None:
            older.cancel()
            await asyncio.wait([older])
        task = asyncio.create_task(_pump(connect, socket), name=f"{kind} session")
        self._running[key] = task
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            if self._running.get(key) is task:
                del self._running[key]
            with contextlib.suppress(ConnectionError):
                # Clients know an end that is not their own by this (upstream's virt-handler just closes, too).
                await socket.close(ABNORMAL)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _pump(connect: Connect, socket: WebSocket) -> None:
    reader, writer = await connect()

    async def to_client() -> None:
        while data := await reader.read(_CHUNK):
            await socket.send(data)

    async def to_guest() -> None:
        while (message := await socket.receive()) is not None:
            writer.write(message.encode() if isinstance(message, str) else message)
            await writer.drain()

    try:
        await until_first(to_client(), to_guest())
    finally:
        writer.close()
