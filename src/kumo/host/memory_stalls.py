"""The kernel tells when processes wait for memory: pressure stall information, by a trigger that costs nothing at rest.

Source: the kernel's `Documentation/accounting/psi.rst`. A kernel without it, or one that does not let us, is silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from pathlib import Path

PRESSURE = Path("/proc/pressure/memory")
TRIGGER = "some 150000 2000000"
"""Somebody waits for memory 150 of 2,000 milliseconds. The kernel tells so at most once in that time."""


class MemoryStalls:
    """`wait` returns when there was such a stall. Use it as a context."""

    def __init__(self, path: Path = PRESSURE, trigger: str = TRIGGER) -> None:
        self._fd = -1
        self._poll: select.epoll | None = None
        with contextlib.suppress(OSError):
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._fd, f"{trigger}\0".encode())
            poll = select.epoll(flags=select.EPOLL_CLOEXEC)
            try:
                poll.register(self._fd, select.EPOLLPRI)
            except OSError:
                poll.close()
                raise
            self._poll = poll

    @property
    def works(self) -> bool:
        """Whether the kernel tells of stalls."""
        return self._poll is not None

    def __enter__(self) -> MemoryStalls:
        return self

    def __exit__(self, *args: object) -> None:
        if self._poll is not None:
            self._poll.close()
            self._poll = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def wait(self) -> None:
        """Return at the next stall: never, where the kernel tells of none."""
        told = asyncio.Event()
        if self._poll is None:
            await told.wait()
            return
        # A poll set is readable when a member has something: so an event loop waits for priority data.
        loop = asyncio.get_running_loop()
        loop.add_reader(self._poll.fileno(), told.set)
        try:
            await told.wait()
        finally:
            loop.remove_reader(self._poll.fileno())
        self._poll.poll(0)
