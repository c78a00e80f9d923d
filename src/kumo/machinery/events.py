"""Events: what `kubectl describe` shows below an object. Written in the background, repeated ones counted.

Objects of kind `v1/Event`, with upstream's correlation in its simplest form: the same event again within ten minutes
raises `count` and moves `lastTimestamp` instead of making a new one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import Object, name_of, namespace_of, timestamp, uid_of
from kumo.api.resources import EVENTS
from kumo.machinery.client import Client

NORMAL = "Normal"
WARNING = "Warning"

_log = structlog.get_logger("kumo.events")
_REMEMBERED = 4096
_WINDOW = 600.0


def object_reference(obj: Object) -> dict[str, Any]:
    """The `ObjectReference` that an event's `involvedObject` is."""
    reference = {
        "apiVersion": obj.get("apiVersion", ""),
        "kind": obj.get("kind", ""),
        "name": name_of(obj),
        "namespace": namespace_of(obj),
        "uid": uid_of(obj),
        "resourceVersion": (obj.get("metadata") or {}).get("resourceVersion", ""),
    }
    return {k: v for k, v in reference.items() if v}


class EventRecorder:
    """Records events on behalf of one component (`source.component`), on one host if it runs on a node."""

    def __init__(self, client: Client, component: str, host: str = "") -> None:
        self._client = client
        self._source = {"component": component} | ({"host": host} if host else {})
        self._seen: OrderedDict[tuple[str, ...], tuple[str, str, int, float]] = OrderedDict()
        self._queue: asyncio.Queue[tuple[dict[str, Any], str, str, str]] = asyncio.Queue(1000)
        self._task: asyncio.Task[None] | None = None

    def event(self, obj: Object, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Record that `reason` happened to `obj`; never blocks, drops events when a thousand are waiting."""
        reference = object_reference(obj)
        if field_path:
            reference["fieldPath"] = field_path
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="events")
        try:
            self._queue.put_nowait((reference, kind, reason, message))
        except asyncio.QueueFull:
            _log.warning("event dropped", reason=reason, object=reference.get("name"))

    async def _run(self) -> None:
        while True:
            reference, kind, reason, message = await self._queue.get()
            try:
                await self._write(reference, kind, reason, message)
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                _log.debug("event not written", reason=reason, error=str(error))
            except Exception:
                _log.exception("event not written", reason=reason)

    async def _write(self, reference: dict[str, Any], kind: str, reason: str, message: str) -> None:
        identity = (reference.get("uid", ""), reference.get("fieldPath", ""), kind, reason, message)
        namespace = reference.get("namespace") or "default"
        now = timestamp()
        seen = self._seen.pop(identity, None)
        if seen is not None and time.monotonic() - seen[3] < _WINDOW:
            name, first, count, _ = seen
            try:
                patch = {"count": count + 1, "lastTimestamp": now}
                await self._client.patch(EVENTS, name, patch, namespace)
                self._remember(identity, name, first, count + 1)
                return
            except StatusError as error:
                if error.code != 404:
                    raise
        name = f"{reference['name']}.{time.time_ns():x}"
        await self._client.create(
            EVENTS,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": reference,
                "reason": reason,
                "message": message,
                "source": self._source,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
                "type": kind,
                "eventTime": None,
                "reportingComponent": self._source["component"],
                "reportingInstance": self._source.get("host", ""),
            },
        )
        self._remember(identity, name, now, 1)

    def _remember(self, identity: tuple[str, ...], name: str, first: str, count: int) -> None:
        self._seen[identity] = (name, first, count, time.monotonic())
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
