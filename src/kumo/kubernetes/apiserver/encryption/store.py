"""The store with encryption at rest: the same contract, values of chosen resources unreadable below it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from kumo.kubernetes.apiserver.encryption.ciphers import DecryptError
from kumo.kubernetes.apiserver.encryption.transformer import MARK, Transformer, Transformers, undecryptable
from kumo.machinery.exposition import Sample, family
from kumo.store.base import CompareFailed, Event, KeyValue, Mutation, Range, Store

_PREFIXES = 64


class EncryptedStore(Store):
    """Encrypts what is written to `inner`, decrypts what is read. A value that can't be read arrives `Undecryptable`.

    Keys are `/registry/{group or core}/{resource}/...`.
    """

    def __init__(self, inner: Store, transformers: Transformers) -> None:
        self._inner = inner
        self._transformers = transformers
        self._stored: dict[str, bytes] = {}
        """The prefix that each value of an encrypted resource was last seen with."""
        self._operations: dict[tuple[str, str, str], int] = {}
        self.exclusive = inner.exclusive

    async def use(self, transformers: Transformers) -> None:
        """Go on with other keys."""
        await transformers.start()
        old, self._transformers = self._transformers, transformers
        await old.close()

    async def poll(self) -> float:
        """Ask the KMS plugins how they are; when to ask again, in seconds."""
        return await self._transformers.poll()

    def check(self) -> str:
        """What is wrong with the KMS plugins, if anything."""
        return self._transformers.check()

    def is_stale(self, key: str) -> bool:
        """Whether the key's value should be written again, because another key writes now."""
        transformer = self._of(key)
        return transformer is not None and self._stored.get(key, transformer.writes) != transformer.writes

    def _of(self, key: str) -> Transformer | None:
        parts = key.split("/", 4)
        if len(parts) < 5:
            return None
        return self._transformers.of("" if parts[2] == "core" else parts[2], parts[3])

    def _count(self, direction: str, prefix: bytes, status: str) -> None:
        kind = prefix.partition(b"\0")[0].decode(errors="replace")
        key = (direction, kind[: kind.find(":v1:") + 4] if ":v1:" in kind else kind, status)
        if key in self._operations or len(self._operations) < _PREFIXES:
            self._operations[key] = self._operations.get(key, 0) + 1

    def _read(self, kv: KeyValue) -> KeyValue:
        value = kv.value
        transformer = self._of(kv.key)
        if transformer is None:
            return kv if value[:1] != MARK[:1] else kv._replace(value=undecryptable(value, "no matching prefix found"))
        if not value:
            return kv
        try:
            plain, prefix = transformer.read(value, kv.key.encode())
        except DecryptError as error:
            self._count("from_storage", b"unknown", "Unknown")
            return kv._replace(value=undecryptable(value, str(error)))
        self._stored[kv.key] = prefix
        self._count("from_storage", prefix, "OK")
        return kv._replace(value=plain)

    async def _learn(self, kvs: Iterable[KeyValue | None]) -> None:
        """Have what is needed to read these: a plugin may have to be asked."""
        for name, plugin in self._transformers.plugins.items():
            mark = f"k8s:enc:kms:v2:{name}:".encode()
            values = [kv.value for kv in kvs if kv is not None and kv.value.startswith(mark)]
            if values:
                await plugin.learn(values)

    async def _written(self, key: str, value: bytes) -> bytes:
        """Raises EncryptFailed."""
        transformer = self._of(key)
        if transformer is None:
            return value
        if transformer.guard is not None:
            await transformer.guard.prepare()
        value = transformer.write(value, key.encode())
        self._count("to_storage", transformer.writes, "OK")
        return value

    async def _refused(self, error: CompareFailed) -> CompareFailed:
        current = error.current
        await self._learn([current])
        return CompareFailed(error.key, error.expected, self._read(current) if current is not None else None)

    # -- the contract -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See Store."""
        await self._transformers.start()
        await self._inner.start()

    async def stop(self) -> None:
        """See Store."""
        await self._inner.stop()
        await self._transformers.close()

    async def current_revision(self) -> int:
        """See Store."""
        return await self._inner.current_revision()

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """See Store."""
        found = await self._inner.get(key, revision=revision)
        await self._learn([found])
        return self._read(found) if found is not None else None

    async def range(self, prefix: str, *, revision: int = 0, limit: int = 0, start_after: str = "") -> Range:
        """See Store."""
        found = await self._inner.range(prefix, revision=revision, limit=limit, start_after=start_after)
        await self._learn(found.kvs)
        return found._replace(kvs=[self._read(kv) for kv in found.kvs])

    async def put(self, key: str, value: bytes, *, expect: int | None = None, lease: int = 0) -> int:
        """See Store."""
        try:
            return await self._inner.put(key, await self._written(key, value), expect=expect, lease=lease)
        except CompareFailed as error:
            raise await self._refused(error) from None

    async def delete(self, key: str, *, expect: int | None = None) -> int:
        """See Store."""
        try:
            return await self._inner.delete(key, expect=expect)
        except CompareFailed as error:
            raise await self._refused(error) from None

    async def commit(self, changes: Sequence[Mutation]) -> int:
        """See Store."""
        written = [
            change._replace(value=await self._written(change.key, change.value)) if change.value is not None else change
            for change in changes
        ]
        try:
            return await self._inner.commit(written)
        except CompareFailed as error:
            raise await self._refused(error) from None

    async def grant(self, ttl: float) -> int:
        """See Store."""
        return await self._inner.grant(ttl)

    async def keepalive(self, lease: int) -> float:
        """See Store."""
        return await self._inner.keepalive(lease)

    async def revoke(self, lease: int) -> None:
        """See Store."""
        await self._inner.revoke(lease)

    async def watch(
        self, prefix: str, from_revision: int, *, previous: bool = True, progress: bool = False
    ) -> AsyncIterator[list[Event]]:
        """See Store."""
        async for batch in self._inner.watch(prefix, from_revision, previous=previous, progress=progress):
            if self._transformers.plugins:
                await self._learn([kv for event in batch for kv in (event.kv, event.previous)])
            yield [self._event(event) for event in batch]

    def _event(self, event: Event) -> Event:
        if event.type == "put":
            event = event._replace(kv=self._read(event.kv))
        elif event.type == "delete":
            self._stored.pop(event.kv.key, None)
        if event.previous is not None:
            event = event._replace(previous=self._read(event.previous))
        return event

    async def advance(self) -> None:
        """See Store."""
        await self._inner.advance()

    async def compact(self, revision: int) -> None:
        """See Store."""
        await self._inner.compact(revision)

    def lines(self) -> list[str]:
        """`apiserver_storage_transformation_operations_total` for /metrics."""
        samples: list[Sample] = [
            ((status, kind, prefix), float(n)) for (kind, prefix, status), n in sorted(self._operations.items())
        ]
        return family(
            "counter",
            "apiserver_storage_transformation_operations_total",
            "[ALPHA] Total number of transformations. Successful transformation will have a status 'OK' and a varied "
            "status string when the transformation fails.",
            ("status", "transformation_type", "transformer_prefix"),
            samples,
        )
