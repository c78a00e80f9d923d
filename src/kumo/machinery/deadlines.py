"""Time-outs that hold in clean-ups too."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def ends_within(seconds: float, work: Coroutine[Any, Any, object]) -> bool:
    """Run the work in a task of its own, for so long at most; whether it came to its end. Raises what it raises.

    For what is done when a task has been cancelled (`finally`, `stop`, `close`). `asyncio.timeout` does not do there:
    before Python 3.11.5, in a task that was cancelled already, it raises CancelledError instead of TimeoutError, and
    what the clean-up had still to do is left undone.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            task.result()
            return True
        return False
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
