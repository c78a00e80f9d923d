"""containerd's events: a container's process started, ended, was killed for want of memory; images came or went."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import NamedTuple

import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage

from kumo.host.containerd.rpc import NAMESPACE, EngineError, Method
from kumo.host.containerd.stubs import engine_pb2 as engine

_PING = "/kumo/subscribed"
_TOPICS = "^/(tasks/(start|exit|oom)|images/(create|update|delete))$"


class TaskEvent(NamedTuple):
    """`kind` is start, exit, oom, image (one came, changed or went), or connected.

    From `connected` on none is missed, but some may have been before.
    """

    kind: str
    container: str = ""
    exit_status: int = 0


class Events:
    """The event stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        service = "/containerd.services.events.v1.Events"
        self._subscribe = Method(channel, f"{service}/Subscribe", engine.SubscribeRequest, engine.Envelope)
        self._publish = Method(channel, f"{service}/Publish", engine.PublishRequest, engine.Nothing)

    async def follow(self) -> AsyncIterator[TaskEvent]:
        """Events of main processes (of containers and sandboxes), for ever; `connected` at each (re)connection."""
        while True:
            try:
                async for event in self._connection():
                    yield event
            except EngineError:
                pass
            # containerd is gone for the moment; the next call waits for it to come back.
            await asyncio.sleep(0.05)

    async def _connection(self) -> AsyncIterator[TaskEvent]:
        token = uuid.uuid4().hex
        wanted = [f'namespace=={NAMESPACE},topic~="{_TOPICS}"', f'topic=="{_PING}"']
        ping = asyncio.create_task(self._ping(token))
        try:
            async for envelope in self._subscribe.stream(engine.SubscribeRequest(filters=wanted), wait_ready=True):
                if envelope.topic == _PING:
                    if envelope.event.value == token.encode() and not ping.done():
                        ping.cancel()
                        yield TaskEvent("connected")
                    continue
                event = _task_event(envelope)
                if event is not None:
                    yield event
        finally:
            ping.cancel()

    async def _ping(self, token: str) -> None:
        # A subscription is not acknowledged: it stands when an event of our own comes back.
        message = AnyMessage(type_url="kumo.dev/subscribed", value=token.encode())
        while True:
            with contextlib.suppress(EngineError):
                await self._publish(engine.PublishRequest(topic=_PING, event=message), 5.0)
            await asyncio.sleep(0.05)


def _task_event(envelope: engine.Envelope) -> TaskEvent | None:
    if envelope.topic.startswith("/images/"):
        return TaskEvent("image")
    kind = envelope.topic.rpartition("/")[2]
    if kind == "exit":
        ended = engine.TaskEvent.FromString(envelope.event.value)
        # The end of an exec carries the exec's id.
        return TaskEvent(kind, ended.container_id, ended.exit_status) if ended.id == ended.container_id else None
    started = engine.TaskStartEvent.FromString(envelope.event.value)
    return TaskEvent(kind, started.container_id)
