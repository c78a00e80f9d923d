"""A process of the plan waits at its standard input for its turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from kumo.cli.process import our_turn

pytestmark = pytest.mark.unit


@pytest.fixture
def pipe() -> Iterator[int]:
    """The supervisor's end of the pipe that is our standard input meanwhile."""
    saved = os.dup(0)
    read, write = os.pipe()
    os.dup2(read, 0)
    os.close(read)
    yield write
    os.dup2(saved, 0)
    os.close(saved)


async def test_the_end_of_the_pipe_is_our_turn(pipe: int) -> None:
    waiting = asyncio.create_task(our_turn(asyncio.Event()))
    await asyncio.sleep(0)
    assert not waiting.done()
    os.close(pipe)
    async with asyncio.timeout(5):
        assert await waiting


async def test_told_to_stop_before_our_turn(pipe: int) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(our_turn(stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(5):
        assert not await waiting
    os.close(pipe)


async def test_without_a_pipe_nobody_is_waited_for() -> None:
    saved, null = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    try:
        assert await our_turn(asyncio.Event())
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(null)
