"""Concurrent clients of a store, whose every call is recorded for the history checker.

history = History()
async with Load([store, other], history) as load:
    ... do harm ...
await load.check()
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from types import TracebackType

from kumo.store.base import CompareFailed, Event, OutcomeUnknown, Store, StoreError
from support.history import Change, History, Read, Version

PREFIX = "/p/"


def change(event: Event) -> Change:
    """The checker's form of an event."""
    value = event.kv.value.decode() if event.type == "put" else None
    return Change(event.kv.mod_revision, event.kv.key, value)


class Load:
    """`writers`, readers and watches, spread over `stores`, of `keys` keys below `/p/`, from entry to exit."""

    def __init__(self, stores: Sequence[Store], history: History, *, writers: int = 8, keys: int = 6) -> None:
        self._stores = stores
        self.history = history
        self._writers = writers
        self._keys = [f"{PREFIX}{number}" for number in range(keys)]
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []
        self._stopping = False
        self._start = 0
        self._random = random.Random(writers * 1000 + keys)

    async def __aenter__(self) -> Load:
        self._start = await self._stores[0].current_revision()
        for number, store in enumerate(self._stores):
            self._watching.append(asyncio.create_task(self._watch(f"w{number}", store)))
        for number in range(self._writers):
            self._tasks.append(asyncio.create_task(self._write(number)))
        for store in self._stores:
            self._tasks.append(asyncio.create_task(self._read(store)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        if kind is not None:
            for task in [*self._tasks, *self._watching]:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=kind is not None)

    async def progress(self, count: int, timeout: float = 20.0) -> None:
        """Wait until `count` more writes have been acknowledged."""
        wanted = self.history.acknowledged + count
        async with asyncio.timeout(timeout):
            while self.history.acknowledged < wanted:
                await asyncio.sleep(0.02)

    async def check(self, timeout: float = 20.0) -> None:
        """Take the log, let the watches reach its end, and check everything. Raises AssertionError."""
        async with asyncio.timeout(timeout):
            last = self.history.write(f"{PREFIX}end", "end")
            end = await self._stores[0].put(last.key, b"end")
            last.ok(end)
            await asyncio.gather(*self._watching)
            log: list[Change] = []
            async for batch in self._stores[0].watch(PREFIX, self._start):
                log += map(change, batch)
                if log[-1].revision >= end:
                    break
        for watch in self.history.watches:
            watch.until = end
        self.history.check(log)

    async def _watch(self, name: str, store: Store) -> None:
        record = self.history.watch(name, PREFIX, self._start)
        async for batch in store.watch(PREFIX, self._start):
            record.events += map(change, batch)
            if record.events[-1].key == f"{PREFIX}end":
                return

    async def _write(self, number: int) -> None:
        known: dict[str, int] = {}
        count = 0
        while not self._stopping:
            store = self._random.choice(self._stores)
            key = self._random.choice(self._keys)
            value: str | None = f"{number}.{count}"
            count += 1
            expect = known.get(key, 0) if self._random.random() < 0.6 else None
            if self._random.random() < 0.2:
                value, expect = None, expect or None
            call = self.history.write(key, value, expect)
            try:
                if value is None:
                    revision = await store.delete(key, expect=expect)
                else:
                    revision = await store.put(key, value.encode(), expect=expect)
            except CompareFailed as error:
                call.refused()
                known[key] = error.current.mod_revision if error.current is not None else 0
            except OutcomeUnknown:
                call.unknown()
            except StoreError:
                call.refused()
                await asyncio.sleep(0.01)
            else:
                call.ok(revision)
                known[key] = revision if value is not None else 0

    async def _read(self, store: Store) -> None:
        while not self._stopping:
            key = self._random.choice(self._keys)
            try:
                await self._list(store, self.history.list(PREFIX))
                call = self.history.read(key)
                found = await store.get(key)
                call.ok({key: Version(found.value.decode(), found.mod_revision)} if found else {})
            except StoreError:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.002)

    @staticmethod
    async def _list(store: Store, call: Read) -> None:
        found = await store.range(PREFIX)
        call.ok({kv.key: Version(kv.value.decode(), kv.mod_revision) for kv in found.kvs}, found.revision)
