"""The objects of a custom resource in one version, for lists and watches: converted once, as they come.

A view follows the changes of what is stored, in their order; what a webhook has not converted yet is not shown, nor
anything after it. When a conversion fails, the view ends with its watches (as upstream's watch cache does, which then
begins anew): the next request makes another, or is told why there is none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.entry import Entry, Shown
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.resource_cache import ResourceCache, SelectableFields
from kumo.kubernetes.apiserver.watch_hub import Change

Convert = Callable[[Sequence[Entry]], Awaitable[list[Shown]]]
_BATCH = 1000
_TIDY = 30.0
UNUSED = 300.0
"""After so many seconds without a list or a watch, a view ends."""


class _Pending(NamedTuple):
    revision: int
    namespace: str
    name: str
    entry: Entry | None


class VersionCache(ResourceCache):
    """What `base` holds, in the version that `convert` makes."""

    shown = True

    def __init__(
        self,
        cache: Cache,
        base: ResourceCache,
        convert: Convert,
        fields: SelectableFields,
        ended: Callable[[], object],
    ) -> None:
        super().__init__(base.group, base.resource, cache.revision)
        self.selectable_fields = fields
        self.unreadable = base.unreadable
        self._cache = cache
        self._base = base
        self._convert = convert
        self._ended = ended
        """To be called when the view shows no more changes."""
        self._pending: deque[_Pending] = deque()
        self._taken = self._done = 0
        """How many changes have come, and how many are shown."""
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._more = asyncio.Event()
        self._used = monotonic()
        self.failure: Exception | None = None
        self._at = cache.revision
        self._first = list(base.entries(Match()))
        self._filled = False
        self._task = asyncio.create_task(self._run(), name=f"{base.resource}.{base.group} in another version")

    @property
    def reached(self) -> int:
        """The revision as of which everything is shown."""
        if self._pending:
            return max(self.revision, self._pending[0].revision - 1)
        return self._cache.revision if self._filled else self.revision

    @property
    def unused(self) -> bool:
        """Whether nobody has needed the view for long."""
        return not len(self.hub) and monotonic() - self._used > UNUSED

    def changed(self, revision: int, old: Entry | None, new: Entry | None) -> None:
        """Take a change of what is stored."""
        entry = new or old
        assert entry is not None
        self._pending.append(_Pending(revision, entry.namespace, entry.name, new))
        self._taken += 1
        self._more.set()

    async def caught_up(self) -> None:
        """Return once everything that has come before the call is shown. Raises what a conversion has failed with."""
        self._used = monotonic()
        if self.failure is not None:
            raise self.failure
        if self._filled and self._done == self._taken:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((self._taken, waiter))
        await waiter

    async def look_back(self, revision: int) -> None:
        """Make known what has changed since the revision, as far as it is remembered. Raises StatusError."""
        changes = self._base.hub.changes(revision, self.hub.oldest)
        if not changes:
            if changes is not None:
                self.hub.prepend([], revision)
            return
        entries = {id(e): e for c in changes for e in (c.old, c.new) if e is not None}
        converted = dict(zip(entries, await self._convert(list(entries.values())), strict=True))
        before = [c for c in changes if c.revision <= self.hub.oldest]
        if revision < self.hub.oldest:
            self.hub.prepend((_converted(change, converted) for change in before), revision)

    def close(self, failure: Exception) -> None:
        """End the watches; who waits is told of the failure."""
        self._task.cancel()
        self._end(failure)

    # -- following --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            for entry in await self._convert(self._first):
                self.load(entry)
            self._first = []
            self.revision = self.hub.oldest = self._at
            self._filled = True
            self._release()
            while not self.unused:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TIDY):
                        await self._more.wait()
                if not self._more.is_set():
                    self.forget_unused()
                self._more.clear()
                while self._pending:
                    await self._show([self._pending[i] for i in range(min(_BATCH, len(self._pending)))])
            self._end(RuntimeError("nobody has needed the view for long"))
        except Exception as error:
            self._end(error)

    def _end(self, failure: Exception) -> None:
        self.failure = failure
        self.hub.close()
        self._release(failure)
        self._ended()

    async def _show(self, batch: list[_Pending]) -> None:
        converted = iter(await self._convert([p.entry for p in batch if p.entry is not None]))
        for change in batch:
            self._pending.popleft()
            self._done += 1
            if change.entry is None:
                self.delete(change.namespace, change.name, change.revision)
            else:
                self.put(next(converted))
        self._release()

    def _release(self, error: Exception | None = None) -> None:
        """Wake those who have waited for what is shown now, or all of them to tell of the failure."""
        while self._waiters and (error is not None or self._waiters[0][0] <= self._done):
            waiter = self._waiters.popleft()[1]
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


def _converted(change: Change, converted: dict[int, Shown]) -> Change:
    old, new = change.old, change.new
    return Change(change.revision, converted[id(old)] if old else None, converted[id(new)] if new else None)
