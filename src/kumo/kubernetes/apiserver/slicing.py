"""Long work in slices: between two of them the event loop does what others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from time import perf_counter
from typing import TypeVar

from kumo.kubernetes.apiserver.chunks import CHUNK, gzip
from kumo.kubernetes.apiserver.responses import GZIP_ABOVE
from kumo.machinery.http import Request, Response

HOLD = 0.005
"""How many seconds a slice takes at most, give or take one step."""
T = TypeVar("T")
R = TypeVar("R")


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


async def joined(
    request: Request, head: bytes, items: Sequence[bytes], between: bytes, tail: bytes, media_type: str
) -> Response:
    """An answer of many pieces, compressed piece by piece if it is large and the client takes that."""
    headers = {"Cache-Control": "no-cache, private"}
    if len(items) <= CHUNK:
        body = b"".join((head, between.join(items), tail))
        if len(body) <= GZIP_ABOVE or not _takes_gzip(request):
            return Response(200, body, media_type, headers)
    runs = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    parts = [head, *(between.join(run) + (between if n + 1 < len(runs) else tail) for n, run in enumerate(runs))]
    if _takes_gzip(request) and sum(map(len, parts)) > GZIP_ABOVE:
        parts = await in_slices(parts, gzip)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(200, parts, media_type, headers)


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
