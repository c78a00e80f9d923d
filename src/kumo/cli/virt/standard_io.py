"""Standard input and output beside an event loop, whatever they are: a terminal, a pipe, a file, /dev/null."""

from __future__ import annotations

import asyncio
import os
import threading

_CHUNK = 32 << 10


class StandardInput:
    """What arrives at standard input, from now on.

    A thread reads, for a selector can't wait for files; it ends with the process.
    """

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        threading.Thread(target=self._read, name="standard input", daemon=True).start()

    async def read(self) -> bytes:
        """The next bytes, empty at the end."""
        return await self._arrived.get()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, _CHUNK)
            except OSError:
                data = b""
            try:
                self._loop.call_soon_threadsafe(self._arrived.put_nowait, data)
            except RuntimeError:  # the loop is closed: the command is over
                return
            if not data:
                return


async def write(data: bytes, descriptor: int = 1) -> None:
    """Write all of it, waiting off the loop for a slow reader. Raises BrokenPipeError."""
    rest = memoryview(data)
    while rest:
        rest = rest[await asyncio.to_thread(os.write, descriptor, rest) :]
