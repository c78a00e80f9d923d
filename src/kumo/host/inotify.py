"""inotify(7): wait until something in a directory changes, without looking again and again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

IN_MODIFY = 0x2
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class Inotify:
    """Watches directories; `wait` returns when a file in one of them was written, made or renamed to."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(_FLAGS)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *args: object) -> None:
        os.close(self._fd)
        self._fd = -1

    def watch(self, directory: Path, *, removals: bool = False) -> None:
        """Begin to watch the directory; `removals` count as changes, too, if wanted. Raises OSError."""
        mask = IN_MODIFY | IN_MOVED_TO | IN_CREATE | (IN_DELETE | IN_MOVED_FROM if removals else 0)
        if self._libc.inotify_add_watch(self._fd, os.fsencode(directory), mask) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))

    async def wait(self, timeout: float) -> bool:
        """Wait for a change, at most `timeout` seconds; whether there was one. Changes since the last call count."""
        if self._drain():
            return True
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        loop.add_reader(self._fd, changed.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await changed.wait()
        finally:
            loop.remove_reader(self._fd)
        return self._drain()

    def _drain(self) -> bool:
        found = False
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 65536):
                found = True
        return found
