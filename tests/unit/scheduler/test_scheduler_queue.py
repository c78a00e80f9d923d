"""The scheduling queue: order, back-off and what wakes a pod that is set aside."""

from __future__ import annotations

import asyncio

import pytest

from kumo.kubernetes.scheduler.filters import Change
from kumo.kubernetes.scheduler.queue import SchedulingQueue

pytestmark = pytest.mark.unit


async def next_of(queue: SchedulingQueue) -> str:
    async with asyncio.timeout(1):
        return await queue.get()


async def test_scheduler_queue_gives_the_most_important_first() -> None:
    queue = SchedulingQueue()
    for uid, priority in (("a", 0), ("b", 10), ("c", 0)):
        queue.add(uid, priority)
    assert [await next_of(queue) for _ in range(3)] == ["b", "a", "c"]


async def test_scheduler_queue_wakes_only_for_a_change_that_helps() -> None:
    now = [0.0]
    queue = SchedulingQueue(clock=lambda: now[0])
    queue.add("a", 0)
    assert await next_of(queue) == "a"
    queue.set_aside("a", Change.NODE)
    now[0] = 5.0
    queue.changed(Change.POD_GONE)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await queue.get()
    queue.changed(Change.NODE)
    assert await next_of(queue) == "a"


async def test_scheduler_queue_backs_off_longer_each_time() -> None:
    queue = SchedulingQueue(initial=0.01, ceiling=0.04)
    loop = asyncio.get_running_loop()
    queue.add("a", 0)
    delays = []
    for _ in range(4):
        await next_of(queue)
        start = loop.time()
        queue.back_off("a")
        await next_of(queue)
        delays.append(loop.time() - start)
        queue.back_off("a")
    assert delays[0] >= 0.01 and delays[-1] >= 0.04


async def test_scheduler_queue_forgets_a_removed_pod() -> None:
    queue = SchedulingQueue()
    queue.add("a", 0)
    queue.add("b", 0)
    queue.remove("a")
    assert await next_of(queue) == "b"
    assert "a" not in queue
