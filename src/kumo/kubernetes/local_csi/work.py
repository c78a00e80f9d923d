"""One operation a volume at a time, finished even when its caller goes away."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from kumo.host.csi.errors import CsiError

T = TypeVar("T")


class Turns:
    """Operations in turns, by key (a volume's or snapshot's id or name)."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do it when the others of the same key are done. A caller that gives up does not stop it half way.

        Raises what `work` raises; an OSError as CsiError.
        """
        task = asyncio.create_task(self._turn(key, work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Return when nothing is under way."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _turn(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] += 1
        try:
            async with lock:
                return await work()
        except OSError as error:
            raise refusal(error) from error
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone: nobody else asks


def refusal(error: OSError) -> CsiError:
    """What a caller is told of a failed system call or program."""
    code = "RESOURCE_EXHAUSTED" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "INTERNAL"
    return CsiError(code, error.strerror or str(error))
