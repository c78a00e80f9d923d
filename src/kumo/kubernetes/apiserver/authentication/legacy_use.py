"""Noting that the token of a Secret was used: a label with the day, written at most once a day."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import labels_of
from kumo.api.resources import SECRETS
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.machinery.client import MERGE_PATCH, Client

LAST_USED = "kubernetes.io/legacy-token-last-used"
_REMEMBERED = 8192
_log = structlog.get_logger("kumo.authentication")


def today(now: float) -> str:
    """The day in UTC, as the label has it."""
    return datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%d")


class LegacyUse:
    """Writes the labels; `close` waits for nothing."""

    def __init__(self, client: Client, reader: Reader, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._reader = reader
        self._clock = clock
        self._noted: dict[tuple[str, str], str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, namespace: str, name: str) -> None:
        """The token of that Secret was used just now."""
        day = today(self._clock())
        if self._noted.get((namespace, name)) == day:
            return
        if len(self._noted) > _REMEMBERED:
            self._noted.clear()
        self._noted[(namespace, name)] = day
        task = asyncio.get_running_loop().create_task(self._write(namespace, name, day), name="legacy token use")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, namespace: str, name: str, day: str) -> None:
        secret = self._reader.get(SECRETS, name, namespace)
        if secret is None or labels_of(secret).get(LAST_USED) == day:
            return
        patch = {"metadata": {"uid": secret["metadata"]["uid"], "labels": {LAST_USED: day}}}
        try:
            await self._client.patch(SECRETS, name, patch, namespace, kind=MERGE_PATCH)
        except StatusError as error:
            self._noted.pop((namespace, name), None)
            _log.warning("the use of a token can't be noted", secret=f"{namespace}/{name}", error=str(error))

    async def close(self) -> None:
        """End what is being written."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
