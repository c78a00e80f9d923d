"""Giving memory back: after many large answers the C library keeps what was freed, until it is asked to let go."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.cache import Cache

INTERVAL = 30.0


@contextmanager
def loading() -> Iterator[None]:
    """While much is made that stays: the collector of cycles would look at all of it again and again, in vain."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


async def give_back_regularly(cache: Cache, interval: float = INTERVAL) -> None:
    """At once and every `interval` seconds, let go of bytes that no list uses and return freed memory; until cancelled.

    The return is glibc's malloc_trim; other C libraries do it by themselves or not at all.
    """
    library = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6")
    trim = getattr(library, "malloc_trim", None)
    while True:
        # First of all what the start has left: the store's pages, for one.
        if trim is not None:
            await asyncio.to_thread(trim, 0)
        await asyncio.sleep(interval)
        for found in cache:
            found.forget_unused()
