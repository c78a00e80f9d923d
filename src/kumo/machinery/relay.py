"""Work that goes on side by side until one part ends: streams that are carried both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from kumo.machinery.http import WebSocket


async def until_first(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts until one of them ends, then cancel the others and wait until they are gone.

    A connection that broke (OSError) is an end like any other; whatever else a part raises is raised here.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception) and not isinstance(end, OSError):
            raise end


async def relay(one: WebSocket, other: WebSocket) -> None:
    """Pass messages both ways until either side closes. Both are the caller's to close."""
    await until_first(_carry(one, other), _carry(other, one))


async def _carry(source: WebSocket, target: WebSocket) -> None:
    while (message := await source.receive()) is not None:
        await target.send(message)
