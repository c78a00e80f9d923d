"""Slow start: many equal writes in batches of 1, 2, 4, ..., so that a refusal costs one write, not a thousand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def slow_start(count: int, write: Callable[[], Awaitable[None]]) -> tuple[int, Exception | None]:
    """Call `write` up to `count` times; stop after the first batch with a failure.

    Returns how many calls went well, and the first error.
    """
    done, size = 0, 1
    while done < count:
        size = min(size, count - done)
        answers = await asyncio.gather(*(write() for _ in range(size)), return_exceptions=True)
        errors = [a for a in answers if isinstance(a, BaseException)]
        done += size - len(errors)
        for error in errors:
            if not isinstance(error, Exception):
                raise error
            return done, error
        size *= 2
    return done, None
