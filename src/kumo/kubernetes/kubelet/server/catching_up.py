"""What an attached client has missed between its wish and the moment when containerd has connected it.

containerd says that a session is open before the process's outputs go to it: on a busy machine long before. All
that the process says goes to the container's log too, line by line: it tells what was said since the client asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from kumo.kubernetes.kubelet.logs import parse_line
from kumo.kubernetes.kubelet.server.channels import STDERR, STDOUT

_MOST = 256 << 10
_COMPARED = 4096
_LOG_LAG = 0.01
_QUIET = 0.2
_WATCHED = 3.0
_STREAMS = {"stdout": STDOUT, "stderr": STDERR}


def said(content: bytes) -> dict[int, bytes]:
    """What the lines of a log say, by channel. Pure."""
    found = {STDOUT: b"", STDERR: b""}
    for raw in content.split(b"\n")[:-1]:
        line = parse_line(raw)
        if line is not None and line.stream in _STREAMS:
            found[_STREAMS[line.stream]] += line.text + (b"" if line.partial else b"\n")
    return found


def missing(log: bytes, sent: int, first: bytes) -> tuple[bytes, int]:
    """What to send before `first`, the first output that came, and how much of that was sent already. Pure.

    `log` is all that was said since the client asked, of which `sent` bytes were sent. The newest may
    not be in the log yet, and a line without its end is not.
    """
    head = first[:_COMPARED]

    def agree(begin: int) -> bool:
        left = len(log) - begin
        return log.startswith(head, begin) or (left < len(head) and log.endswith(head[:left]))

    for begin in range(sent, len(log)):
        if agree(begin):
            return log[sent:begin], 0
    for begin in range(sent):
        if agree(begin):
            return b"", min(sent - begin, len(first))
    return log[sent:], 0


class CatchUp:
    """One session's. `send` sends to the client on a channel; only the channels in `wanted` are."""

    def __init__(self, log: Path, wanted: frozenset[int], send: Callable[[int, bytes], Awaitable[None]]) -> None:
        self._log = log
        self._wanted = wanted
        self._send = send
        self._start = 0
        self._sent = {STDOUT: 0, STDERR: 0}
        self._begun: set[int] = set()
        self._one = asyncio.Lock()

    async def mark(self) -> None:
        """The client asks now."""
        self._start = await asyncio.to_thread(self._size)

    async def forward(self, channel: int, data: bytes) -> None:
        """Send what came on a channel, after what was missed before it. Raises ConnectionError."""
        async with self._one:
            if channel not in self._begun:
                self._begun.add(channel)
                await asyncio.sleep(_LOG_LAG)
                log = (await asyncio.to_thread(self._read))[channel]
                before, known = missing(log, self._sent[channel], data)
                if before:
                    await self._send(channel, before)
                data = data[known:]
            if data:
                await self._send(channel, data)

    async def watch(self) -> None:
        """Send what was said while nothing came: for the first seconds of a session. Raises ConnectionError."""
        before: dict[int, bytes] = {}
        loop = asyncio.get_running_loop()
        end = loop.time() + _WATCHED
        while loop.time() < end and self._begun != self._wanted:
            await asyncio.sleep(_QUIET)
            async with self._one:
                log = await asyncio.to_thread(self._read)
                for channel in self._wanted - self._begun:
                    # Only what was there a moment ago: the session may be about to bring what is newer.
                    late = before.get(channel, b"")[self._sent[channel] :]
                    if late and log[channel].startswith(before[channel]):
                        self._sent[channel] += len(late)
                        await self._send(channel, late)
                before = log

    async def finish(self) -> None:
        """The process has ended: send what never came. Raises ConnectionError."""
        async with self._one:
            late = self._wanted - self._begun
            if not late:
                return
            await asyncio.sleep(_LOG_LAG)
            log = await asyncio.to_thread(self._read)
            for channel in late:
                if log[channel][self._sent[channel] :]:
                    await self._send(channel, log[channel][self._sent[channel] :])

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _read(self) -> dict[int, bytes]:
        with contextlib.suppress(OSError), self._log.open("rb") as stream:
            stream.seek(self._start)
            content = stream.read(_MOST + 1)
            if len(content) <= _MOST:
                return said(content)
        return {STDOUT: b"", STDERR: b""}
