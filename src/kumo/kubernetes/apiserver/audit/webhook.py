"""The webhook backend: events collected to lists, and sent to whoever a kubeconfig names."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog

from kumo.kubernetes.apiserver.audit.config import Batching
from kumo.machinery.deadlines import ends_within
from kumo.machinery.transport import HttpTransport

_log = structlog.get_logger("kumo.audit")


class WebhookBackend:
    """Sends `audit.k8s.io/v1` EventLists by POST to `path` of the transport. Events over `buffer` are lost, counted."""

    def __init__(self, transport: HttpTransport, path: str = "/", batching: Batching | None = None) -> None:
        self._transport = transport
        self._path = path or "/"
        self._batching = batching or Batching()
        self._events: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self.errors = 0

    def write(self, events: Sequence[bytes]) -> None:
        """Take the events; they are sent later."""
        for event in events:
            if len(self._events) >= self._batching.buffer:
                self.errors += 1
                continue
            self._events.append(event)
        self._arrived.set()
        if len(self._events) >= self._batching.size:
            self._full.set()

    async def run(self) -> None:
        """Send what arrives, until cancelled."""
        while True:
            await self._arrived.wait()
            try:
                async with asyncio.timeout(self._batching.wait):
                    await self._full.wait()
            except TimeoutError:
                pass
            await self._send()
            await asyncio.sleep(1 / self._batching.rate)

    async def _send(self) -> None:
        batch = [self._events.popleft() for _ in range(min(len(self._events), self._batching.size))]
        if not self._events:
            self._arrived.clear()
        if len(self._events) < self._batching.size:
            self._full.clear()
        if not batch:
            return
        body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%b]}' % b",".join(batch)
        for attempt in range(self._batching.attempts):
            if attempt:
                await asyncio.sleep(self._batching.backoff * 1.5 ** (attempt - 1))
            try:
                reply = await self._transport.request(
                    "POST", self._path, headers={"content-type": "application/json"}, body=body
                )
            except ConnectionError as error:
                _log.warning("the audit webhook can't be reached", error=str(error))
                continue
            if reply.status < 300:
                return
            _log.warning("the audit webhook refuses events", status=reply.status)
            if reply.status < 500 and reply.status != 429:
                break
        self.errors += len(batch)
        _log.error("audit events are lost", count=len(batch))

    async def close(self) -> None:
        """Send once more what is left, then let go of the connection."""
        if self._events and not await ends_within(2.0, self._send()):
            self.errors += len(self._events)
        await self._transport.close()
