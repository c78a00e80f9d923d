"""Time-outs of clean-ups: they hold in a task that was cancelled."""

from __future__ import annotations

import asyncio

import pytest

from kumo.machinery.deadlines import ends_within
from kumo.machinery.http import Answer, Request, Upgrade, WebSocket
from kumo.machinery.listener import Listener
from kumo.machinery.transport import HttpTransport, InProcessTransport

pytestmark = pytest.mark.unit


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    async with asyncio.timeout(60):
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("seconds", "ended"), [(0.01, False), (60.0, True)])
async def test_a_time_out_holds_in_a_task_that_was_cancelled(seconds: float, ended: bool) -> None:
    said: list[object] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(0 if ended else 3600)
        finally:
            said.append("over")

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            said.append(await ends_within(seconds, endless()))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await cancelled(task)
    assert task.cancelled() and said == ["over", ended]


async def test_what_the_work_raises_is_raised() -> None:
    async def failing() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await ends_within(60.0, failing())


async def test_a_listener_that_is_cancelled_cuts_off_who_does_not_end_and_closes() -> None:
    """Its grace time is over before the handler is: what is behind the drain must be done all the same."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def handler(_: Request) -> Answer:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    listener = Listener(handler, port=0, grace=0.05)
    await listener.start()
    serving = asyncio.create_task(listener.run())
    transport = HttpTransport(listener.url)
    request = asyncio.create_task(transport.request("GET", "/"))
    async with asyncio.timeout(60):
        await asked.wait()
        await cancelled(serving)
        with pytest.raises(ConnectionError):
            await request
        await left.wait()
        await transport.close()


async def test_a_stream_that_is_given_up_ends_its_handler() -> None:
    opened, ended = asyncio.Event(), asyncio.Event()

    async def run(_: WebSocket) -> None:
        opened.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def handler(_: Request) -> Answer:
        return Upgrade("v1", run)

    async def client() -> None:
        async with InProcessTransport(handler).websocket("/"):
            await asyncio.Event().wait()

    task = asyncio.create_task(client())
    async with asyncio.timeout(60):
        await opened.wait()
        await cancelled(task)
    assert ended.is_set()
