"""What haproxy's master tells as services tell systemd: that it is ready, with a new worker (sd_notify(3))."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

_SILENT_SECONDS = 1.0
"""A master that an earlier version of this program started tells nothing: then it is asked that often."""


class Notices:
    """A datagram socket at `path`, as long as this is entered. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told = asyncio.Event()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Notices:
        self.path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self.path.chmod(0o600)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
        self.path.unlink(missing_ok=True)

    def _take(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(4096):
                self._told.set()

    async def next(self, ended: asyncio.Task[Any] | None) -> None:
        """Return once something was told, or `ended` is done."""
        told = asyncio.create_task(self._told.wait())
        try:
            waited = {told} if ended is None else {told, ended}
            await asyncio.wait(waited, timeout=_SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            self._told.clear()
