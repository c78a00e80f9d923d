"""Following the EncryptionConfiguration: a file that changes is used at once, unless something is wrong with it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog

from kumo.host.inotify import Inotify
from kumo.kubernetes.apiserver.encryption import EncryptionError
from kumo.kubernetes.apiserver.encryption.configuration import load
from kumo.kubernetes.apiserver.encryption.store import EncryptedStore
from kumo.kubernetes.apiserver.encryption.transformer import Transformers

_LOOK = 3600.0
_log = structlog.get_logger("kumo.encryption")


class Reloader:
    """Keeps `store` at what the file says. `fault` is what is wrong with the file now, if anything."""

    def __init__(self, path: Path, store: EncryptedStore) -> None:
        self._path = path
        self._store = store
        self._digest = self._hash()
        self.lines = store.lines
        self.fault = ""
        self._other = asyncio.Event()
        self.changed: Callable[[], Awaitable[None]] | None = None
        """Called once other keys are in use."""

    def _hash(self) -> bytes:
        try:
            return hashlib.sha256(self._path.read_bytes()).digest()
        except OSError:
            return b""

    async def run(self) -> None:
        """Follow the file, and ask KMS plugins how they are, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="encryption configuration")
            group.create_task(self._poll(), name="KMS plugins")

    async def _poll(self) -> None:
        while True:
            before = self._store.check()
            pause = await self._store.poll()
            if before and not self._store.check() and self.changed is not None:
                await self.changed()
            # Not only the pause: the file may have changed since, and with it the plugins.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._other.wait(), pause)
            self._other.clear()

    async def _follow(self) -> None:
        with Inotify() as inotify:
            inotify.watch(self._path.parent)
            while True:
                if await self._look() and self.changed is not None:
                    await self.changed()
                await inotify.wait(_LOOK)
                await asyncio.sleep(0)

    async def _look(self) -> bool:
        """Read the file if it has changed; whether it is used."""
        digest = self._hash()
        if digest == self._digest:
            return False
        self._digest = digest
        try:
            await self._store.use(Transformers(load(self._path)))
        except EncryptionError as error:
            self.fault = str(error)
            _log.error("the changed encryption configuration is not used", error=self.fault)
            return False
        self.fault = ""
        self._other.set()
        _log.info("the encryption configuration has been read again", path=str(self._path))
        return True

    def check_plugins(self) -> str:
        """What the health check of KMS plugins says."""
        return self._store.check()

    def check(self) -> str:
        """What a health check says."""
        return self.fault
