"""One question for many who ask: those who come while it is under way share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from kumo.store.base import Unavailable

T = TypeVar("T")


class Shared(Generic[T]):
    """Calls `deed` so that every caller's answer was begun after he called, with at most one under way."""

    def __init__(self, deed: Callable[[], Awaitable[T]]) -> None:
        self._deed = deed
        self._waiting: asyncio.Future[T] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> T:
        """The answer, or what `deed` raises."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = asyncio.get_running_loop().create_future()
            if self._task is None:
                self._task = asyncio.create_task(self._run())
        return await asyncio.shield(waiting)

    async def _run(self) -> None:
        try:
            while (waiting := self._waiting) is not None:
                self._waiting = None
                try:
                    answer = await self._deed()
                except Exception as error:
                    waiting.set_exception(error)
                    waiting.exception()  # Those who asked may all have gone.
                except asyncio.CancelledError:
                    waiting.set_exception(Unavailable("the store is stopped"))
                    waiting.exception()
                    raise
                else:
                    waiting.set_result(answer)
        finally:
            self._task = None

    async def close(self) -> None:
        """Give up what is under way: whoever waits is told that the store is stopped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting is not None:
            self._waiting.set_exception(Unavailable("the store is stopped"))
            self._waiting.exception()
            self._waiting = None
