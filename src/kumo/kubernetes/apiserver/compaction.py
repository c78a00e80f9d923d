"""Forgetting: the store's history is kept for one or two intervals, then compacted (as upstream's compactor)."""

from __future__ import annotations

import asyncio

import structlog

from kumo.store.base import Compacted, CompareFailed, Store, StoreError

KEY = "/compaction"
"""Where the servers on one store agree who compacts: its value is the revision at the time of its last change."""
_log = structlog.get_logger("kumo.apiserver.compaction")


async def compact_regularly(store: Store, interval: float) -> None:
    """Every `interval` seconds, forget what was older than the interval before; until cancelled."""
    if store.exclusive:
        await _alone(store, interval)
    else:
        await _in_turn(store, interval)


async def _alone(store: Store, interval: float) -> None:
    last = await store.current_revision()
    while True:
        await asyncio.sleep(interval)
        current = await store.current_revision()
        if last:
            await _compact(store, last)
        last = current


async def _in_turn(store: Store, interval: float) -> None:
    """Of several servers one compacts in each interval: the first whose interval has passed since anybody did.

    He changes the key, by comparing and swapping; the others find that it has changed and wait anew (as upstream's
    `compact_rev_key`). The others need not be there, nor need their clocks agree.
    """
    seen = 0
    while True:
        try:
            found = await store.get(KEY)
            if found is None or found.mod_revision == seen:
                current = await store.current_revision()
                old = int(found.value) if found is not None else 0
                seen = await store.put(KEY, str(current).encode(), expect=seen if found is not None else 0)
                if old:
                    await _compact(store, old)
            else:
                seen = found.mod_revision
        except CompareFailed as error:
            seen = error.current.mod_revision if error.current is not None else 0
        except (StoreError, ValueError) as error:
            _log.warning("compaction failed; it will be tried again", error=str(error))
        await asyncio.sleep(interval)


async def _compact(store: Store, revision: int) -> None:
    try:
        await store.compact(revision)
    except Compacted:
        pass
    except StoreError as error:
        _log.warning("compaction failed; it will be tried again", error=str(error))
