"""The pods that wait to be scheduled: ready ones by priority, those backing off, and those nothing helps yet.

As upstream's SchedulingQueue: a pod that fits nowhere stays aside until a change happens that could help it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from kumo.kubernetes.scheduler.filters import Change


@dataclass(slots=True)
class Waiting:
    """One pod in the queue: its uid, how important it is, how often it was tried."""

    uid: str
    priority: int
    attempts: int = 0
    due: float = 0.0
    helps: Change = field(default=Change(0))


class SchedulingQueue:
    """`initial` and `ceiling` are the first and the longest back-off in seconds; `clock` is monotonic."""

    def __init__(
        self, *, initial: float = 1.0, ceiling: float = 10.0, clock: Callable[[], float] | None = None
    ) -> None:
        self._initial = initial
        self._ceiling = ceiling
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._pods: dict[str, Waiting] = {}
        self._ready: list[tuple[int, int, str]] = []
        self._backing_off: list[tuple[float, int, str]] = []
        self._aside: set[str] = set()
        self._queued: set[str] = set()
        self._count = itertools.count()
        self._wake = asyncio.Event()

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def add(self, uid: str, priority: int) -> None:
        """A pod that wants a node; one that is known already and changed is tried again after its back-off."""
        pod = self._pods.get(uid)
        if pod is None:
            pod = self._pods[uid] = Waiting(uid, priority)
        pod.priority = priority
        if uid in self._aside:
            self._aside.discard(uid)
            self._enqueue(pod)
        elif uid not in self._queued:
            self._enqueue(pod)

    def remove(self, uid: str) -> None:
        """The pod needs no node any more."""
        self._pods.pop(uid, None)
        self._aside.discard(uid)
        self._queued.discard(uid)

    def set_aside(self, uid: str, helps: Change) -> None:
        """No node will do; wait for one of the changes in `helps`."""
        pod = self._pods.get(uid)
        if pod is not None and uid not in self._queued:
            pod.helps = helps
            pod.due = self._clock() + self._delay(pod)
            self._aside.add(uid)

    def back_off(self, uid: str) -> None:
        """Something failed that may pass: try again after the back-off."""
        pod = self._pods.get(uid)
        if pod is not None and uid not in self._queued:
            pod.due = self._clock() + self._delay(pod)
            self._enqueue(pod)

    def changed(self, change: Change) -> None:
        """Something happened in the cluster: queue the pods that it could help."""
        for uid in [u for u in self._aside if self._pods[u].helps & change]:
            self._aside.discard(uid)
            self._enqueue(self._pods[uid])

    async def get(self) -> str:
        """The uid of the most important pod that is ready, the longest waiting among equals."""
        while True:
            self._move_due()
            while self._ready:
                _, _, uid = heapq.heappop(self._ready)
                if uid in self._queued:
                    self._queued.discard(uid)
                    self._pods[uid].attempts += 1
                    return uid
            self._wake.clear()
            timeout = max(0.0, self._backing_off[0][0] - self._clock()) if self._backing_off else None
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _delay(self, pod: Waiting) -> float:
        return min(self._initial * 2.0 ** max(pod.attempts - 1, 0), self._ceiling)

    def _enqueue(self, pod: Waiting) -> None:
        self._queued.add(pod.uid)
        if pod.due > self._clock():
            heapq.heappush(self._backing_off, (pod.due, next(self._count), pod.uid))
        else:
            heapq.heappush(self._ready, (-pod.priority, next(self._count), pod.uid))
        self._wake.set()

    def _move_due(self) -> None:
        now = self._clock()
        while self._backing_off and self._backing_off[0][0] <= now:
            _, _, uid = heapq.heappop(self._backing_off)
            if uid in self._queued:
                heapq.heappush(self._ready, (-self._pods[uid].priority, next(self._count), uid))
