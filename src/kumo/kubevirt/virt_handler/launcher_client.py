"""A connection to one launcher: requests with answers, and the events it pushes. Protocol: `virt_launcher.rpc`."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from kumo.kubevirt.virt_handler import pod_files

Body = dict[str, Any]

_LINE_LIMIT = 64 << 20
_encode = msgspec.json.encode
_decode = msgspec.json.decode


class LauncherError(Exception):
    """The launcher refused or failed; `code` is its word for why (`NoDomain`, `AgentNotConnected`, `Internal`, ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LauncherGone(ConnectionError):
    """The launcher does not answer: its process has ended, or has not begun to listen."""


class LauncherClient:
    """One connection. `on_event` is called for each event on the event loop, `on_close` once when it is over."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pid: int,
        on_event: Callable[[Body], None],
        on_close: Callable[[], None],
    ) -> None:
        self.pid = pid
        """The launcher's process on this node, PID 1 of its container."""
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._on_close = on_close
        self._waiting: dict[int, asyncio.Future[Body]] = {}
        self._next = 0
        self._task = asyncio.create_task(self._read(), name="launcher connection")

    @property
    def is_open(self) -> bool:
        """Whether requests can be made."""
        return not self._task.done()

    async def call(self, method: str, params: Body | None = None, timeout: float = 30.0) -> Body:
        """The answer to one request. Raises LauncherError, LauncherGone, TimeoutError."""
        if self._task.done():
            raise LauncherGone("the launcher has closed the connection")
        self._next += 1
        number = self._next
        future: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._writer.write(_encode({"id": number, "method": method, "params": params or {}}) + b"\n")
            async with asyncio.timeout(timeout):
                await self._writer.drain()
                return await future
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """Close the connection; the launcher and its guest run on."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)  # Its cancellation, and not ours, is no news.

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                body = _decode(line)
                if "event" in body:
                    self._on_event(body)
                    continue
                future = self._waiting.get(body.get("id"))
                if future is None or future.done():
                    continue
                if error := body.get("error"):
                    future.set_exception(LauncherError(error["code"], error["message"]))
                else:
                    future.set_result(body.get("result") or {})
        except (OSError, ValueError, msgspec.DecodeError):
            pass
        finally:
            self._writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(LauncherGone("the launcher has closed the connection"))
            self._on_close()


async def connect(
    sockets: Path, name: str, on_event: Callable[[Body], None], on_close: Callable[[], None]
) -> LauncherClient:
    """Connect to the launcher that listens on `name` in the directory `sockets` (the pod's emptyDir on the node).

    Raises LauncherGone when nobody listens there (yet).
    """
    try:
        with pod_files.directory_at(sockets) as root, pod_files.socket_path(root, name) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise LauncherGone(f"no launcher listens on {sockets / name}") from error
    peer: socket.socket = writer.get_extra_info("socket")
    # The credentials are those of the process that called listen(): the launcher, as this node numbers it.
    pid, _uid, _gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return LauncherClient(reader, writer, pid, on_event, on_close)
