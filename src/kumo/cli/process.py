"""What the processes of an instance's plan have in common: waiting for their turn, running until told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from kumo.cli.report import Reporter
from kumo.cli.supervisor import FATAL_EXIT

_COLLECT_AFTER = (20_000, 20, 20)
"""When the garbage collector looks, by generation. Our objects live long or die at once and make few cycles: at the
interpreter's own 700 the collector took a sixth of a write's time, and found next to nothing."""


async def our_turn(stop: asyncio.Event) -> bool:
    """Wait until the supervisor says that the process before this one is ready; False if told to stop before that.

    It says so by closing the pipe that is our standard input. Where that is no pipe, nobody needs to be waited for.
    """
    stdin = 0
    if not stat.S_ISFIFO(os.fstat(stdin).st_mode):
        return True
    loop, turn = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(stdin, turn.set)
    ends = {asyncio.create_task(turn.wait()), asyncio.create_task(stop.wait())}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(stdin)
        for task in ends:
            task.cancel()
    return not stop.is_set()


async def ended_before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` to its end; when `stop` is set before that, give it up and say False."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run_until_told(
    work: Callable[[asyncio.Event], Awaitable[None]],
    reporter: Reporter,
    fatal: tuple[type[Exception], ...],
    cured: tuple[type[Exception], ...] = (),
) -> int:
    """Run the coroutine function `work` until SIGTERM or SIGINT sets its event; the process's exit code.

    An exception of a `fatal` type is what a restart would not cure: it is reported to the user. One of a `cured` type
    is what a restart is for: it is told in a line, without a trace.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await work(stop)

    gc.set_threshold(*_COLLECT_AFTER)
    # A connection is a descriptor, and the soft limit is often 1,024 (for programs that call select(2), as we don't).
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        uvloop.run(main())
    except BaseException as error:
        cause = _first_of(error, fatal)
        if cause is None and (reason := _first_of(error, cured)) is not None:
            print(f"ends, to be started again: {reason}", file=sys.stderr, flush=True)
            return 1
        if cause is None:
            raise
        reporter.error(str(cause))
        print(f"fatal: {cause}", file=sys.stderr, flush=True)
        return FATAL_EXIT
    return 0


def _first_of(error: BaseException, kinds: tuple[type[Exception], ...]) -> BaseException | None:
    """The first exception of the kinds in the error or in the groups within it."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for e in error.exceptions if (found := _first_of(e, kinds)) is not None), None)
    return error if isinstance(error, kinds) else None
