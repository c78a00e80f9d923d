"""Long work in slices: between two of them the event loop does what others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any, TypeVar

from kumo.kubernetes.apiserver.chunks import gzip
from kumo.kubernetes.apiserver.responses import GZIP_ABOVE
from kumo.machinery.http import Request, Response

HOLD = 0.005
"""How many seconds a slice takes at most, give or take one step."""
LARGE = 1 << 18
"""From how many bytes on an object is large: it may take tens of milliseconds to look at all of it."""
_PIECE = 1 << 17
"""How many bytes a piece of a long body has at least."""
T = TypeVar("T")
R = TypeVar("R")


async def aside(large: bool, work: Callable[[], R]) -> R:
    """What `work` says. It may change nothing that others see: for a large object it is done in a thread of its own,

    which shares the interpreter with the loop; what that takes in one go delays nobody else.
    """
    return await asyncio.to_thread(work) if large else work()


async def in_slices(items: Iterable[T], work: Callable[[T], R]) -> list[R]:
    """`work` of every item; the loop is held for `HOLD` seconds at a time."""
    found: list[R] = []
    until = perf_counter() + HOLD
    for item in items:
        found.append(work(item))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + HOLD
    return found


class Pieces(Sequence[bytes]):
    """A body of many items, put together piece by piece as it is written: who reads slowly holds no copy of it all."""

    def __init__(self, head: bytes, items: Sequence[bytes], between: bytes, tail: bytes) -> None:
        self._head, self._items, self._between, self._tail = head, items, between, tail
        gaps = max(0, len(items) - 1) * len(between)
        self.size = len(head) + sum(map(len, items)) + gaps + len(tail)
        """The length in bytes."""

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        run: list[bytes] = []
        size, last = 0, len(self._items) - 1
        for index, item in enumerate(self._items):
            run.append(item)
            size += len(item)
            if size >= _PIECE or index == last:
                if index < last:
                    run.append(b"")  # What is between this piece and the next.
                yield self._between.join(run)
                run, size = [], 0
        yield self._tail

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


async def joined(
    request: Request, head: bytes, items: Sequence[bytes], between: bytes, tail: bytes, media_type: str
) -> Response:
    """An answer of many pieces, compressed piece by piece if it is large and the client takes that."""
    headers = {"Cache-Control": "no-cache, private"}
    body = Pieces(head, items, between, tail)
    if body.size <= GZIP_ABOVE:
        return Response(200, b"".join(body), media_type, headers)
    if not _takes_gzip(request):
        return Response(200, body, media_type, headers)
    headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(200, await in_slices(body, gzip), media_type, headers)


async def paced(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The chunks, with a pause for others after each `HOLD` seconds of making them."""
    until = perf_counter() + HOLD
    for chunk in chunks:
        yield chunk
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + HOLD


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")
