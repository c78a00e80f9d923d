"""Judgements that may take long: begun at once, and when they turn out to be long, made anew in a thread of their own.

What users write in CEL may cost a request up to some seconds. The loop gives it some milliseconds; most rules are done
by then. The others run in one thread, one after the other, and share the interpreter with the loop, which goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
B = TypeVar("B")
PATIENCE = 10_000
"""What expressions may cost together before they are moved, in CEL's units: some three milliseconds."""


class Haste(threading.local):
    """How long the thread that looks is ready to wait for a judgement: a cost, or None for as long as it takes.

    `considerate`: it shares the interpreter with the loop, and should let it run often.
    """

    patience: int | None = None
    considerate = False

    def budget(self, make: Callable[..., B], *total: int) -> B:
        """The budget (`cel.Budget`) of a judgement, made so."""
        return make(*total, patience=self.patience, considerate=self.considerate)


class Deliberation:
    """The thread for long judgements; there is none before the first."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self.moved = 0
        """How many judgements have been moved."""

    async def judged(self, haste: Haste | None, judge: Callable[[], T]) -> T:
        """What `judge` says. It must change nothing; `haste` is what it looks at, None if it is never long."""
        if haste is None:
            return judge()
        from kumo.machinery.cel import TakesLong

        haste.patience = PATIENCE
        try:
            return judge()
        except TakesLong:
            self.moved += 1
        finally:
            haste.patience = None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "cel")
        return await asyncio.get_running_loop().run_in_executor(self._thread, _considerately, haste, judge)

    def close(self) -> None:
        """Let the thread go when it has finished what it is at; what waits is dropped."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None


def _considerately(haste: Haste, judge: Callable[[], T]) -> T:
    haste.considerate = True
    return judge()
