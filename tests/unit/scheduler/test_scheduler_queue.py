"""The scheduling queue: order, back-off and what wakes a pod that is set aside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.queue import FLUSH_AFTER, SchedulingQueue

pytestmark = pytest.mark.unit
INTERESTS = {"": {"Fit": (Interest(Resource.NODE, Action.ADD),)}}
NODE = Happening(Resource.NODE, Action.ADD, None, {})
GONE = Happening(Resource.POD, Action.DELETE, {}, None)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def queue_of(*uids: str, interests: Any = INTERESTS) -> tuple[SchedulingQueue, Clock]:
    clock = Clock()
    queue = SchedulingQueue(interests, clock=clock)
    for uid in uids:
        queue.add(uid, 0, {})
    return queue, clock


async def next_of(queue: SchedulingQueue) -> str:
    async with asyncio.timeout(1):
        return (await queue.get()).uid


async def assert_idle(queue: SchedulingQueue) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await queue.get()


async def test_scheduler_queue_gives_the_most_important_first() -> None:
    queue, _ = queue_of()
    for uid, priority in (("a", 0), ("b", 10), ("c", 0)):
        queue.add(uid, priority, {})
    assert [await next_of(queue) for _ in range(3)] == ["b", "a", "c"]


async def test_scheduler_queue_wakes_only_for_an_event_that_helps() -> None:
    queue, clock = queue_of("a")
    assert await next_of(queue) == "a"
    queue.set_aside("a", ["Fit"])
    clock.now = 5.0
    queue.happened(GONE)
    await assert_idle(queue)
    queue.happened(NODE)
    assert await next_of(queue) == "a"


async def test_scheduler_queue_asks_the_hint() -> None:
    hinted = Interest(Resource.NODE, Action.ADD, lambda pod, event: pod["wants"] == "it")
    queue = SchedulingQueue({"": {"Fit": (hinted,)}}, clock=Clock())
    queue.add("a", 0, {"wants": "something else"})
    queue.add("b", 0, {"wants": "it"})
    for _ in range(2):
        queue.set_aside(await next_of(queue), ["Fit"])
    queue.happened(NODE)
    assert (queue.place_of("a"), queue.place_of("b")) == ("aside", "backoff")


async def test_scheduler_queue_lets_backing_off_pods_go_when_nobody_else_waits() -> None:
    queue, _ = queue_of("a", "b")
    assert await next_of(queue) == "a"
    queue.set_aside("a", ["Fit"])
    queue.happened(NODE)
    assert queue.place_of("a") == "backoff"
    assert [await next_of(queue), await next_of(queue)] == ["b", "a"]


async def test_scheduler_queue_makes_what_failed_wait() -> None:
    queue, clock = queue_of("a")
    assert await next_of(queue) == "a"
    for attempt, delay in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0)):
        queue.back_off("a")
        clock.now += delay - 0.001
        await assert_idle(queue)
        clock.now += 0.001
        assert await next_of(queue) == "a", attempt


async def test_scheduler_queue_goes_on_with_a_pod_that_was_tried_for_days() -> None:
    queue, clock = queue_of("a", "b")
    assert await next_of(queue) == "a"
    queue._pods["a"].attempts = queue._pods["a"].errors = 5000
    queue.set_aside("a", ["Fit"])
    queue.happened(NODE)
    assert [await next_of(queue), await next_of(queue)] == ["b", "a"]
    queue.back_off("a")
    await assert_idle(queue)
    clock.now += 10.0
    assert await next_of(queue) == "a"


async def test_scheduler_queue_holds_a_pod_for_which_room_is_made() -> None:
    queue, clock = queue_of("a")
    queue.set_aside(await next_of(queue), ["Fit"])
    queue.hold("a")
    queue.happened(NODE)
    clock.now = FLUSH_AFTER + 1
    queue.flush()
    assert queue.place_of("a") == "aside"
    queue.release("a")
    queue.happened(NODE)
    assert await next_of(queue) == "a"


async def test_scheduler_queue_tries_again_after_five_minutes() -> None:
    queue, clock = queue_of("a")
    queue.set_aside(await next_of(queue), ["Fit"])
    clock.now = FLUSH_AFTER - 1
    queue.flush()
    assert queue.place_of("a") == "aside"
    clock.now = FLUSH_AFTER
    queue.flush()
    assert await next_of(queue) == "a"


async def test_scheduler_queue_forgets_a_removed_pod() -> None:
    queue, _ = queue_of("a", "b")
    queue.remove("a")
    assert await next_of(queue) == "b"
    queue.set_aside("a", ["Fit"])
    assert "a" not in queue and len(queue) == 1
