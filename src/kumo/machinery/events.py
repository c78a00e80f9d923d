"""Events: what `kubectl describe` shows below an object. Written in the background, with upstream's correlation.

Objects of kind `v1/Event`: the same event again raises `count` and moves `lastTimestamp`, similar ones are combined,
floods are cut off (`event_correlation`).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, name_of, namespace_of, new_uid, timestamp, uid_of
from kumo.api.resources import EVENTS
from kumo.machinery.client import Client
from kumo.machinery.event_correlation import Correlated, Correlator

NORMAL = "Normal"
WARNING = "Warning"

_log = structlog.get_logger("kumo.events")
_TRIES = 12
_LONGEST_NAME = 253


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
        self._correlator = Correlator(time.monotonic)
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
            except Exception:
                _log.exception("event not written", reason=reason)

    async def _write(self, reference: dict[str, Any], kind: str, reason: str, message: str) -> None:
        """Write what is left of the event after correlation; while the server can't be reached, some minutes long."""
        now = timestamp()
        made = self._correlator.correlate(reference, kind, reason, message, name=event_name(reference["name"]), now=now)
        if made is None:
            return
        for number in range(_TRIES):
            try:
                await self._send(reference, kind, reason, made, now)
                return
            except StatusError as error:
                _log.debug("event refused", reason=reason, error=str(error))
                return
            except (ConnectionError, OSError, TimeoutError) as error:
                _log.debug("event not written", reason=reason, error=str(error))
            await asyncio.sleep(min(0.5 * 2**number, 10.0))

    async def _send(self, reference: dict[str, Any], kind: str, reason: str, made: Correlated, now: str) -> None:
        namespace = reference.get("namespace") or "default"
        if made.count > 1:
            try:
                patch = {"count": made.count, "lastTimestamp": now, "message": made.message}
                await self._client.patch(EVENTS, made.name, patch, namespace)
                return
            except StatusError as error:
                if not is_not_found(error):
                    raise
        await self._client.create(
            EVENTS,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": made.name, "namespace": namespace},
                "involvedObject": reference,
                "reason": reason,
                "message": made.message,
                "source": self._source,
                "firstTimestamp": made.first,
                "lastTimestamp": now,
                "count": made.count,
                "type": kind,
                "eventTime": None,
                "reportingComponent": self._source["component"],
                "reportingInstance": self._source.get("host", ""),
            },
        )


def event_name(name: str) -> str:
    """A name of an event about the object `name`, unlike any other."""
    made = f"{name}.{time.time_ns():x}"
    return made if len(made) <= _LONGEST_NAME else new_uid()
