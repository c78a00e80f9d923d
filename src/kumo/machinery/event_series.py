"""Events of group events.k8s.io: what was done (`action`), by whom, to what and because of what.

Upstream's newer form, which the scheduler writes; `kubectl` shows both forms alike. The same event again within six
minutes becomes a series: its count is written with the second occurrence, and once more when the series has ended.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import Object, micro_timestamp
from kumo.api.resources import GVR
from kumo.machinery.client import Client
from kumo.machinery.events import event_name, object_reference

EVENTS = GVR("events.k8s.io", "v1", "events")
_log = structlog.get_logger("kumo.events")
_REMEMBERED = 4096
_WAITING = 2000
_FINISHED = 360.0
_LONGEST_NOTE = 1024
_TRIES = 12
_LONGEST_PAUSE = 10.0


@dataclass(slots=True)
class _Series:
    """An event that was written: how often it happened since, and whether its count is on the server."""

    name: str
    namespace: str
    at: float
    count: int = 1
    last: str = ""
    written: int = 1


class SeriesRecorder:
    """Records events as `reportingController`; the instance is that and the host's name, as upstream's."""

    def __init__(self, client: Client, controller: str, host: str = "", *, pause: float = 0.5) -> None:
        """`pause` is how many seconds an unreachable server is left alone at first."""
        self._client = client
        self._pause = pause
        self._controller = controller
        self._host = host or socket.gethostname()
        self._seen: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._queue: asyncio.Queue[tuple[str, dict[str, Any], tuple[str, ...]]] = asyncio.Queue(_WAITING)
        self._task: asyncio.Task[None] | None = None

    def event(
        self,
        regarding: Object,
        kind: str,
        reason: str,
        action: str,
        note: str,
        *,
        related: Object | None = None,
        controller: str = "",
    ) -> None:
        """Record that `action` was done to `regarding` with the outcome `reason`; never blocks.

        `controller` is who reports, if not this recorder's own. A note longer than 1,024 characters is cut. Events are
        dropped while two thousand wait.
        """
        reference = object_reference(regarding)
        other = object_reference(related) if related is not None else None
        controller = controller or self._controller
        identity = (kind, action, reason, controller, *_flat(reference), *_flat(other or {}))
        note = note if len(note) <= _LONGEST_NOTE else f"{note[: _LONGEST_NOTE - 4]} ..."
        if self._repeated(identity):
            return
        namespace = reference.get("namespace") or "default"
        name = event_name(reference["name"])
        body: dict[str, Any] = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": micro_timestamp(),
            "reportingController": controller,
            "reportingInstance": f"{controller}-{self._host}",
            "action": action,
            "reason": reason,
            "regarding": reference,
            "note": note,
            "type": kind,
        }
        if other is not None:
            body["related"] = other
        self._remember(identity, _Series(name, namespace, time.monotonic()))
        self._put("create", body, identity)

    def _repeated(self, identity: tuple[str, ...]) -> bool:
        """Count an event that was seen lately; the second one makes it a series."""
        found = self._seen.get(identity)
        if found is None:
            return False
        now = time.monotonic()
        if now - found.at > _FINISHED:
            self._finish(identity, found)
            return False
        found.count += 1
        found.at, found.last = now, micro_timestamp()
        if found.count == 2:
            self._write_series(identity, found)
            asyncio.get_running_loop().call_later(_FINISHED, self._look_again, identity, found)
        return True

    def _look_again(self, identity: tuple[str, ...], series: _Series) -> None:
        """Write the last count of a series that has ended; one that goes on is looked at later."""
        if self._seen.get(identity) is not series:
            return
        left = _FINISHED - (time.monotonic() - series.at)
        if left > 0:
            asyncio.get_running_loop().call_later(left, self._look_again, identity, series)
        else:
            self._finish(identity, series)

    def _finish(self, identity: tuple[str, ...], series: _Series) -> None:
        del self._seen[identity]
        if series.written < series.count:
            self._write_series(identity, series)

    def _write_series(self, identity: tuple[str, ...], series: _Series) -> None:
        series.written = series.count
        patch = {"series": {"count": series.count, "lastObservedTime": series.last}}
        self._put("patch", {"name": series.name, "namespace": series.namespace, "patch": patch}, identity)

    def _remember(self, identity: tuple[str, ...], series: _Series) -> None:
        self._seen[identity] = series
        now = time.monotonic()
        while self._seen:
            oldest, found = next(iter(self._seen.items()))
            if now - found.at <= _FINISHED and len(self._seen) <= _REMEMBERED:
                return
            self._finish(oldest, found)

    def _put(self, verb: str, body: dict[str, Any], identity: tuple[str, ...]) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="events")
        try:
            self._queue.put_nowait((verb, body, identity))
        except asyncio.QueueFull:
            _log.warning("event dropped", reason=identity[2])

    async def _run(self) -> None:
        while True:
            verb, body, identity = await self._queue.get()
            try:
                await self._write(verb, body, identity[2])
            except Exception:
                _log.exception("event not written", reason=identity[2])

    async def _write(self, verb: str, body: dict[str, Any], reason: str) -> None:
        """Write it; while the server can't be reached, again and again, two minutes long. What it refuses is lost."""
        for number in range(_TRIES):
            try:
                if verb == "create":
                    await self._client.create(EVENTS, body)
                else:
                    await self._client.patch(EVENTS, body["name"], body["patch"], body["namespace"])
                return
            except StatusError as error:
                # A creation whose answer was lost has been carried out.
                _log.debug("event refused", reason=reason, error=str(error))
                return
            except (ConnectionError, OSError, TimeoutError) as error:
                _log.debug("event not written", reason=reason, error=str(error))
            await asyncio.sleep(min(self._pause * 2**number, _LONGEST_PAUSE))
        _log.warning("event dropped", reason=reason)


def _flat(reference: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        str(reference.get(k, "")) for k in ("kind", "namespace", "name", "uid", "resourceVersion", "fieldPath")
    )
