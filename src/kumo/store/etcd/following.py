"""A watch on etcd that outlives the member it was begun at: it goes on at another, where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import structlog

from kumo.store.base import Compacted, Denied, Event, KeyValue
from kumo.store.etcd.endpoints import Endpoints, Member
from kumo.store.etcd.layout import Layout
from kumo.store.etcd.methods import WATCH
from kumo.store.etcd.refusals import refusal
from kumo.store.etcd.stubs import etcd_pb2 as pb

_RETRY_SECONDS = 0.2
_log = structlog.get_logger("kumo.store.etcd")


async def _once(request: Any, ended: asyncio.Event) -> AsyncIterator[Any]:
    """The request; the stream then stays open until `ended`, for etcd would take its end for the watch's."""
    yield request
    await ended.wait()


class Following:
    """One watch of keys below `prefix`, later than `position` (a revision in the store's terms)."""

    def __init__(
        self, endpoints: Endpoints, layout: Layout, prefix: str, position: int, *, previous: bool, progress: bool
    ) -> None:
        self._endpoints = endpoints
        self._layout = layout
        self._first = layout.key(prefix or "/")
        self._range = layout.everything() if progress else layout.range(prefix)
        self._position = position
        self._previous = previous
        self._progress = progress
        self._call: Any = None
        self._interrupted = False
        self._closed = False

    def interrupt(self) -> None:
        """The member in use has changed: go on there."""
        self._interrupted = True
        if self._call is not None:
            self._call.cancel()

    def close(self) -> None:
        """End the watch."""
        self._closed = True
        self.interrupt()

    async def batches(self) -> AsyncIterator[list[Event]]:
        """The changes in order. Raises Compacted and Denied; everything else is overcome."""
        try:
            while not self._closed:
                member = self._endpoints.member
                self._interrupted = False
                try:
                    async for batch in self._from(member):
                        yield batch
                except grpc.aio.AioRpcError as error:
                    await self._overcome(member, error.code().name, error.details() or "")
                except asyncio.CancelledError:
                    # A call that `interrupt` has cancelled says so in the same way as our own cancellation.
                    task = asyncio.current_task()
                    if not self._interrupted or (task is not None and task.cancelling()):
                        raise
        finally:
            if self._call is not None:
                self._call.cancel()

    async def _overcome(self, member: Member, code: str, details: str) -> None:
        if code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            raise refusal(code, details, self._endpoints.where)
        if self._closed or self._interrupted:
            return
        _log.info("a watch was interrupted; it goes on", member=member.target, reason=details or code)
        self._endpoints.leave(member, details or code)
        await asyncio.sleep(_RETRY_SECONDS)

    async def _from(self, member: Member) -> AsyncIterator[list[Event]]:
        """What one member tells. Ends when the member ends the watch for a passing reason."""
        at = self._position - self._layout.offset
        if at < 0:
            raise Compacted(self._position, self._layout.offset)
        # It begins with the revision already seen, whose changes are dropped: so etcd itself refuses when anything
        # since has been compacted. (To 0 it would answer with the present.)
        create = pb.WatchCreate(
            key=self._range[0], range_end=self._range[1], start_revision=max(at, 1), prev_kv=self._previous
        )
        ended = asyncio.Event()
        # Asked by an iterator: a write to a call that is cancelled before it got through would wait for ever.
        request = _once(pb.WatchRequest(create=create), ended)
        self._call = call = member.stub(WATCH)(request, metadata=(("hasleader", "true"),))
        try:
            while True:
                answer = await call.read()
                if answer is grpc.aio.EOF:
                    await self._overcome(
                        member, (await call.code()).name, await call.details() or "the watch was ended"
                    )
                    return
                if answer.canceled:
                    if answer.compact_revision:
                        raise Compacted(self._position, answer.compact_revision + self._layout.offset)
                    if "permission denied" in answer.cancel_reason or "auth" in answer.cancel_reason:
                        raise Denied(f"etcd ({self._endpoints.where}) refuses the watch: {answer.cancel_reason}")
                    await self._overcome(member, "UNAVAILABLE", answer.cancel_reason)
                    return
                batch = self._taken(answer.events)
                if batch:
                    yield batch
        finally:
            ended.set()

    def _taken(self, events: Any) -> list[Event]:
        """The new ones among the events that arrived together; etcd does not part those of one revision."""
        layout = self._layout
        at = self._position - layout.offset
        fresh = [event for event in events if event.kv.mod_revision > at]
        if not fresh:
            return []
        self._position = fresh[-1].kv.mod_revision + layout.offset
        batch = [layout.event(event) for event in fresh if layout.is_key(event.kv.key, self._first)]
        if self._progress and (not batch or batch[-1].kv.mod_revision < self._position):
            batch.append(Event("progress", KeyValue("", b"", 0, self._position)))
        return batch
