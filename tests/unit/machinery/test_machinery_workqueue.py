"""The work queue's promises."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.machinery.workqueue import WorkQueue

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_key_waits_at_most_once_and_in_order() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a", "c", "b"):
        queue.add(key)
    assert len(queue) == 3
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


async def test_a_key_being_worked_on_waits_until_it_is_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_waiting_workers_are_woken_one_for_each_key() -> None:
    queue: WorkQueue[int] = WorkQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(5)]
    await asyncio.sleep(0)
    for key in range(5):
        queue.add(key)
    async with asyncio.timeout(1):
        assert sorted(await asyncio.gather(*workers)) == [0, 1, 2, 3, 4]


async def test_a_delayed_key_comes_when_it_is_due_and_the_earliest_counts() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    queue.add_after("b", 1)
    clock.now = 1
    assert await queue.get() == "b"
    clock.now = 5
    assert await queue.get() == "a"
    queue.done("a")
    clock.now = 100
    queue.add("end")
    assert await queue.get() == "end"
    assert len(queue) == 0


async def test_a_delayed_key_wakes_a_waiting_worker() -> None:
    queue: WorkQueue[str] = WorkQueue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_after("a", 0.01)
    async with asyncio.timeout(1):
        assert await worker == "a"


async def test_back_off_doubles_up_to_its_ceiling_and_forgets() -> None:
    queue: WorkQueue[str] = WorkQueue(base=1.0, ceiling=5.0, clock=Clock())
    assert [queue.retry("a") for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    queue.forget("a")
    assert queue.retry("a") == 1.0


@given(st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.integers(0, 3)), max_size=60))
def test_no_key_is_ever_worked_on_twice_at_once_and_none_is_lost(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        queue: WorkQueue[int] = WorkQueue()
        working: set[int] = set()
        owed: set[int] = set()
        for step, key in steps:
            if step == "add":
                queue.add(key)
                owed.add(key)
            elif step == "get" and len(queue):
                found = await queue.get()
                assert found not in working
                working.add(found)
                owed.discard(found)
            elif step == "done" and key in working:
                working.discard(key)
                queue.done(key)
        for key in list(working):
            queue.done(key)
        rest = {await queue.get() for _ in range(len(queue))}
        assert rest == owed

    asyncio.run(play())
