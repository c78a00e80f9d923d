"""Giving memory back: after many large answers the C library keeps what was freed, until it is asked to let go."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util

INTERVAL = 30.0


async def give_back_regularly(interval: float = INTERVAL) -> None:
    """Every `interval` seconds, return freed memory to the kernel (glibc's malloc_trim); until cancelled.

    Where the C library knows no such call, this returns at once.
    """
    library = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6")
    trim = getattr(library, "malloc_trim", None)
    if trim is None:
        return
    while True:
        await asyncio.sleep(interval)
        await asyncio.to_thread(trim, 0)
