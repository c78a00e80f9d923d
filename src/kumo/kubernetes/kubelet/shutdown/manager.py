"""Delays the machine's shutdown until its pods have ended, each in its turn and time."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog

from kumo.api.objects import Object, timestamp
from kumo.kubernetes.kubelet.admission import Refusal
from kumo.kubernetes.kubelet.ending import Ending
from kumo.kubernetes.kubelet.shutdown.logind import Logind, LogindError
from kumo.kubernetes.kubelet.shutdown.periods import Periods, grouped, requested
from kumo.kubernetes.kubelet.shutdown.record import ShutdownRecord
from kumo.kubernetes.kubelet.spec import grace_period

NODE_MESSAGE = "node is shutting down"
"""What the condition Ready says meanwhile."""
_REASON, _MESSAGE = "Terminated", "Pod was terminated in response to imminent node shutdown."
_NOT_ADMITTED = Refusal("NodeShutdown", "Pod was rejected as the node is shutting down.")
_AGAIN_FIRST, _AGAIN_LAST = 1.0, 60.0
_LAST_WORDS = 5.0
"""Seconds for the API server to hear how the pods ended: it may be gone already."""
_log = structlog.get_logger("kumo.kubelet.shutdown")


class Ends(Protocol):
    """What the manager needs of a pod's worker."""

    uid: str
    over: asyncio.Event

    @property
    def pod(self) -> Object:
        """The pod object."""
        ...

    def end(self, cause: Ending, *, event: str = "") -> None:
        """End the pod before its time."""
        ...


class ShutdownManager:
    """`workers` are those of all pods, `say` records an event (reason, message) on the Node, `changed` has its status
    written, `flush` waits until a pod's status has been written, `connect` finds logind,
    `record` remembers when it was."""

    def __init__(
        self,
        periods: Periods,
        workers: Callable[[], Iterable[Ends]],
        say: Callable[[str, str], None],
        changed: Callable[[], None],
        flush: Callable[[Object], Awaitable[None]],
        connect: Callable[[], Awaitable[Logind]],
        record: ShutdownRecord,
    ) -> None:
        self._periods = periods
        self._workers = workers
        self._say = say
        self._changed = changed
        self._flush = flush
        self._connect = connect
        self._record = record
        self._lock = -1
        self.is_shutting_down = False
        self.watching = asyncio.Event()
        """Set while a lock is held."""

    def refusal(self) -> Refusal | None:
        """Why no new pod is taken now, if so."""
        return _NOT_ADMITTED if self.is_shutting_down else None

    async def run(self) -> None:
        """Hold the lock and wait for a shutdown, until cancelled; return at once if nobody is to wait."""
        if not self._periods:
            return
        await asyncio.to_thread(self._record.load)
        pause, said = _AGAIN_FIRST, ""
        try:
            while True:
                try:
                    await self._watch()
                    _log.info("D-Bus or logind has ended")
                    pause, said = _AGAIN_FIRST, ""
                except LogindError as error:
                    if str(error) != said:  # once: it is tried again and again
                        said = str(error)
                        _log.warning("can't delay shutdowns of this machine", error=said)
                    pause = min(pause * 2, _AGAIN_LAST)
                self.watching.clear()
                await asyncio.sleep(pause)
        finally:
            self._release()

    async def _watch(self) -> None:
        logind = await self._connect()
        try:
            await logind.wait_longer(requested(self._periods))
            self._hold(await logind.inhibit())
            async for coming in logind.shutdowns():
                what = "event" if coming else "cancellation"
                _log.info("the machine's shutdown", coming=coming)
                self._say("NodeShutdown", f"Shutdown manager detected shutdown {what}")
                self.is_shutting_down = coming
                self._changed()
                if coming:
                    await asyncio.to_thread(self._record.began)
                    try:
                        await self._end_pods()
                        await asyncio.to_thread(self._record.ended)
                    finally:
                        self._release()
                else:
                    self._hold(await logind.inhibit())
        finally:
            logind.close()

    async def _end_pods(self) -> None:
        """End all pods, the least important first."""
        active = [(int(w.pod["spec"].get("priority") or 0), w) for w in self._workers() if not w.over.is_set()]
        for seconds, group in grouped(self._periods, active):
            for worker in group:
                grace = min(float(seconds), float(grace_period(worker.pod)))
                worker.end(Ending(_REASON, _MESSAGE, timestamp(), _MESSAGE, grace))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    for worker in group:
                        await worker.over.wait()
            left = sum(not w.over.is_set() for w in group)
            _log.info("pods ended for the shutdown", count=len(group) - left, left=left, seconds=seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await asyncio.gather(*(self._flush(w.pod) for _, w in active if w.over.is_set()))

    def _hold(self, lock: int) -> None:
        self._release()
        self._lock = lock
        self.watching.set()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self.watching.clear()
