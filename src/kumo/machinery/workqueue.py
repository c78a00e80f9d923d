"""A queue of keys with three promises: a key waits at most once, is worked on by one worker at a time, and backs off.

The same contract as client-go's rate-limiting work queue.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
BOUNDS = tuple(10.0**n for n in range(-8, 2))
"""The upper bounds, in seconds, by which waiting and working times are counted."""


class WorkQueue(Generic[K]):
    """Keys to work on. `base` and `ceiling` are the first and the longest delay after failures, in seconds."""

    def __init__(self, *, base: float = 0.005, ceiling: float = 60.0, clock: Callable[[], float] | None = None) -> None:
        self._base = base
        self._ceiling = ceiling
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._ready: deque[K] = deque()
        self._waiting: dict[K, float] = {}
        """When the keys that wait were added."""
        self.working: dict[K, float] = {}
        """When work on the keys that are worked on began, by time.monotonic()."""
        self.adds = self.retries = 0
        self._waits, self._waited = [0] * (len(BOUNDS) + 1), 0.0
        self._works, self._worked = [0] * (len(BOUNDS) + 1), 0.0
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._count = itertools.count()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def waits(self) -> tuple[list[int], float]:
        """How many keys waited how long, by `BOUNDS`, and all their time in seconds."""
        return self._waits, self._waited

    @property
    def works(self) -> tuple[list[int], float]:
        """How many keys were worked on how long, by `BOUNDS`, and all their time in seconds."""
        return self._works, self._worked

    def add(self, key: K) -> None:
        """Work on the key as soon as a worker is free; if it is being worked on, once more afterwards."""
        if key in self.working:
            self._again.add(key)
        elif key not in self._waiting:
            self.adds += 1
            self._waiting[key] = monotonic()
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: K, delay: float) -> None:
        """Work on the key in `delay` seconds, or earlier if it is added otherwise; the earliest of several counts."""
        if delay <= 0:
            self.add(key)
            return
        due = self._clock() + delay
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._count), key))
        self._wake.set()

    def retry(self, key: K) -> float:
        """Work on the key again after its back-off, which doubles with each call; the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries += 1
        delay = min(self._base * 2.0 ** min(failures, 40), self._ceiling)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key went well: its next failure starts from the shortest delay."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; call `done` when its work has ended."""
        while True:
            self._move_due()
            if self._ready:
                key = self._ready.popleft()
                self.working[key] = now = monotonic()
                waited = now - self._waiting.pop(key)
                self._waits[bisect_left(BOUNDS, waited)] += 1
                self._waited += waited
                return key
            self._wake.clear()
            timeout = max(0.0, self._later[0][0] - self._clock()) if self._later else None
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: K) -> None:
        """The key's work has ended, well or not."""
        if (began := self.working.pop(key, None)) is not None:
            worked = monotonic() - began
            self._works[bisect_left(BOUNDS, worked)] += 1
            self._worked += worked
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif self._ready:
            self._wake.set()

    def _move_due(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
