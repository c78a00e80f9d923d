"""Container logs: files of lines `<RFC 3339 nano time> <stdout|stderr> <P|F> <text>`, written by containerd.

`read_log` serves what `kubectl logs` asks for, following by inotify. A line tagged P is a part; the rest follows.
Rotation renames the file and has containerd open it anew; old files are kept as `<name>.<time>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kumo.api.objects import parse_timestamp
from kumo.host.inotify import Inotify

_BLOCK = 64 << 10
_PIECE = 256 << 10


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query of `GET .../log` (`PodLogOptions` of v1). `since` is seconds since the epoch."""

    follow: bool = False
    tail_lines: int | None = None
    since: float | None = None
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str = ""
    """Only stdout or stderr; empty for both."""


class Line(NamedTuple):
    """One entry of a log file."""

    time: str
    stream: str
    partial: bool
    text: bytes


def parse_line(raw: bytes) -> Line | None:
    """The entry on a line (with or without its newline), or None if it is no such line."""
    parts = raw.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    tags = parts[2].split(b":")
    return Line(
        parts[0].decode("ascii", "replace"), parts[1].decode(), tags[0] == b"P", parts[3] if len(parts) > 3 else b""
    )


def line_time(text: str) -> float:
    """Seconds since the epoch of an entry's time, to the microsecond. Raises ValueError."""
    return parse_timestamp(text)


def render(line: Line, options: LogOptions, after_partial: bool) -> bytes:
    """What the reader gets of an entry; `after_partial`: it goes on with the line before."""
    if options.stream and options.stream != line.stream:
        return b""
    head = f"{line.time} ".encode() if options.timestamps and not after_partial else b""
    return head + line.text + (b"" if line.partial else b"\n")


def tail_offset(path: Path, lines: int) -> int:
    """Where the last `lines` whole lines of the file begin; a line in several parts counts once."""
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        if lines <= 0:
            return position
        buffer = b""
        while position > 0:
            step = min(_BLOCK, position)
            position -= step
            stream.seek(position)
            buffer = stream.read(step) + buffer
            starts = _line_starts(buffer, position == 0)
            if len(starts) > lines:
                return position + starts[-lines]
        return 0


def _line_starts(buffer: bytes, whole: bool) -> list[int]:
    """Offsets in `buffer` where a log line begins, parts of one line counted together."""
    starts = []
    offset = 0 if whole else buffer.find(b"\n") + 1
    if not whole and offset == 0:
        return []
    continued = False
    while offset < len(buffer):
        end = buffer.find(b"\n", offset)
        end = len(buffer) if end < 0 else end
        line = parse_line(buffer[offset:end])
        if not continued:
            starts.append(offset)
        continued = bool(line and line.partial)
        offset = end + 1
    return starts


def last_lines(path: Path, lines: int, limit: int) -> str:
    """The text of the last lines, at most `limit` bytes of it; empty if there is no log."""
    try:
        start = tail_offset(path, lines)
        with path.open("rb") as stream:
            stream.seek(start)
            raw = stream.read(_PIECE)
    except OSError:
        return ""
    text = b"".join(_texts(raw.splitlines(keepends=True), LogOptions()))
    return text[-limit:].decode(errors="replace")


def _texts(raw: list[bytes], options: LogOptions) -> Iterator[bytes]:
    after = False
    for entry in raw:
        line = parse_line(entry)
        if line is not None:
            yield render(line, options, after)
            after = line.partial


class _Reader:
    """Reads entries from an open log file and turns them into what the client gets, within its limits."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._rest = b""
        self._after = False
        self._left = options.limit_bytes
        self._since = options.since

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._left is not None and self._left <= 0

    def feed(self, data: bytes) -> bytes:
        """The output for more of the file's bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        out = []
        for raw in lines:
            line = parse_line(raw)
            if line is None:
                continue
            if self._since is not None:
                try:
                    if line_time(line.time) < self._since:
                        continue
                except ValueError:
                    continue
                self._since = None
            out.append(render(line, self._options, self._after))
            self._after = line.partial
        text = b"".join(out)
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
        return text


async def read_log(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's output in chunks. While following, ends when `running()` is false and all has been read.

    Raises FileNotFoundError. The reader must call `aclose` (or read to the end), which lets go of the file.
    """
    start = 0
    if options.tail_lines is not None:
        start = await asyncio.to_thread(tail_offset, path, options.tail_lines)
    reader = _Reader(options)
    with contextlib.ExitStack() as stack:
        notify = stack.enter_context(Inotify()) if options.follow else None
        if notify is not None:
            notify.watch(path.parent)
        stream = stack.enter_context(path.open("rb"))
        stream.seek(start)
        while not reader.full:
            alive = running()  # asked before reading, so that nothing written before the end is missed
            data = await asyncio.to_thread(stream.read, _PIECE)
            if data:
                text = reader.feed(data)
                if text:
                    yield text
                continue
            if notify is None:
                return
            if _rotated(stream.fileno(), path):
                stream = stack.enter_context(path.open("rb"))
                continue
            if not alive:
                return
            # The end of the container writes nothing into the directory: look again now and then.
            await notify.wait(1.0)


def _rotated(descriptor: int, path: Path) -> bool:
    try:
        return path.stat().st_ino != os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def rotate(path: Path, keep: int, limit: int) -> bool:
    """Rename a log larger than `limit` bytes, delete the oldest beyond `keep`; whether it must be opened anew."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    try:
        if path.stat().st_size <= limit:
            return False
        path.rename(path.with_name(f"{path.name}.{stamp}"))
    except FileNotFoundError:
        return False
    old = sorted(path.parent.glob(f"{path.name}.*"))
    for extra in old[: max(0, len(old) - (keep - 1))]:
        extra.unlink(missing_ok=True)
    return True
