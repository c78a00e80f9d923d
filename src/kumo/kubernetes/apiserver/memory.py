"""Giving memory back: after many large answers the C library keeps what was freed, until it is asked to let go."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util

from kumo.kubernetes.apiserver.cache import Cache

INTERVAL = 30.0


async def give_back_regularly(cache: Cache, interval: float = INTERVAL) -> None:
    """Every `interval` seconds, let go of bytes that no list uses and return freed memory; until cancelled.

    The return is glibc's malloc_trim; other C libraries do it by themselves or not at all.
    """
    library = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6")
    trim = getattr(library, "malloc_trim", None)
    while True:
        await asyncio.sleep(interval)
        for found in cache:
            found.forget_unused()
        if trim is not None:
            await asyncio.to_thread(trim, 0)
