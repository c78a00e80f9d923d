"""The provider `kms`: a plugin guards the seeds that values are encrypted with; each is asked for once.

A seed writes for as long as the plugin's key stays the same. The plugin is asked how it is every minute (every ten
seconds while it is not well); when it has not answered for three minutes, nothing is written any more (as upstream).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic

import structlog

from kumo.kubernetes.apiserver.encryption.ciphers import DecryptError
from kumo.kubernetes.apiserver.encryption.envelope import (
    SEED_BYTES,
    Source,
    packed,
    seal,
    unpacked,
    unseal,
    wrong_with,
)
from kumo.kubernetes.apiserver.encryption.plugin import Plugin, PluginClient, PluginError
from kumo.store.base import StoreError

WELL_SECONDS, ILL_SECONDS = 60.0, 10.0
_WRITES_SECONDS = 180.0
_MOST_SEEDS = 10_000
_AT_ONCE = 16
_log = structlog.get_logger("kumo.encryption")


class EncryptFailed(StoreError):
    """A value can't be encrypted, and is not written."""


@dataclass(slots=True)
class _Writing:
    """What values are encrypted with now, until `until` (time.monotonic())."""

    seed: bytes
    source: Source
    until: float


class KmsProvider:
    """One plugin's provider. `prefix` is what its values begin with in the store."""

    def __init__(self, plugin: Plugin) -> None:
        self.prefix = f"k8s:enc:kms:v2:{plugin.name}:".encode()
        self.fault = "no answer of the plugin yet"
        """What is wrong with it now, empty when it is well."""
        self._plugin = plugin
        self._client = PluginClient(plugin)
        self._writing: _Writing | None = None
        self._secrets: dict[bytes, bytes] = {}
        self._failures: dict[bytes, str] = {}

    @property
    def mark(self) -> bytes:
        """What tells the values that are written now from older ones: the prefix and the plugin's key."""
        return self.prefix + b"\0" + (self._writing.source.key_id.encode() if self._writing is not None else b"")

    async def start(self) -> None:
        """Connect, and have a seed if the plugin is well."""
        self._client.open()
        await self.poll()

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()

    async def poll(self) -> float:
        """Ask how the plugin is, and take a new seed if its key has changed; when to ask again, in seconds."""
        asked = monotonic()
        try:
            key_id = await self._client.status()
            writing = self._writing
            if writing is not None and writing.source.key_id == key_id:
                writing.until = asked + _WRITES_SECONDS
            else:
                await self._renew(asked)
        except PluginError as error:
            if not self.fault or self._writing is None:
                _log.error("a KMS plugin is not well", plugin=self._plugin.name, error=str(error))
            self.fault = str(error)
            return ILL_SECONDS
        if self.fault:
            _log.info("a KMS plugin is well", plugin=self._plugin.name)
        self.fault = ""
        self._failures.clear()
        return WELL_SECONDS

    async def _renew(self, asked: float) -> None:
        seed = os.urandom(SEED_BYTES)
        source = await self._client.encrypt(seed)
        if wrong := wrong_with(source):
            raise PluginError(wrong)
        self._remember(source, seed)
        self._writing = _Writing(seed, source, asked + _WRITES_SECONDS)
        _log.info("values are encrypted with a new seed", plugin=self._plugin.name)

    def _remember(self, source: Source, secret: bytes) -> None:
        while len(self._secrets) >= _MOST_SEEDS:
            del self._secrets[next(iter(self._secrets))]
        self._secrets[source.digest] = secret

    # -- reading ----------------------------------------------------------------------------------------------------

    async def learn(self, values: Iterable[bytes]) -> None:
        """Ask the plugin for what these stored values need to be read; what it does not give is told by `read`."""
        wanted: dict[bytes, Source] = {}
        for value in values:
            try:
                source, _ = unpacked(value[len(self.prefix) :])
            except DecryptError:
                continue
            if source.digest not in self._secrets:
                wanted[source.digest] = source
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(digest: bytes, source: Source) -> None:
            async with gate:
                try:
                    self._remember(source, await self._client.decrypt(source))
                    self._failures.pop(digest, None)
                except PluginError as error:
                    if len(self._failures) < _MOST_SEEDS:
                        self._failures[digest] = str(error)

        if wanted:
            await asyncio.gather(*(ask(digest, source) for digest, source in wanted.items()))

    def read(self, value: bytes, bound: bytes) -> tuple[bytes, bytes]:
        """The plain value and its mark. Raises DecryptError."""
        source, data = unpacked(value[len(self.prefix) :])
        secret = self._secrets.get(source.digest)
        if secret is None:
            why = self._failures.get(source.digest) or "the plugin was not asked"
            raise DecryptError(f"failed to decrypt DEK, error: {why}")
        return unseal(source, secret, data, bound), self.prefix + b"\0" + source.key_id.encode()

    # -- writing ----------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Have a seed to write with. Raises EncryptFailed."""
        writing = self._writing
        if writing is None or writing.until < monotonic():
            await self.poll()
            writing = self._writing
        if writing is None or writing.until < monotonic():
            raise EncryptFailed(f"the KMS plugin {self._plugin.name} gives no key to write with: {self.fault}")

    def write(self, value: bytes, bound: bytes) -> bytes:
        """What is stored for the value; after `prepare`."""
        writing = self._writing
        assert writing is not None
        return self.prefix + packed(writing.source, seal(writing.seed, value, bound))

    def check(self) -> str:
        """What the health check says."""
        what = f"failed to perform status section of the healthz check for KMS Provider {self._plugin.name}"
        return f"{what}, error: {self.fault}" if self.fault else ""
