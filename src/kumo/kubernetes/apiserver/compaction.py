"""Forgetting: the store's history is kept for one or two intervals, then compacted (as upstream's compactor)."""

from __future__ import annotations

import asyncio

import structlog

from kumo.store.base import Compacted, Store, StoreError

_log = structlog.get_logger("kumo.apiserver.compaction")


async def compact_regularly(store: Store, interval: float) -> None:
    """Every `interval` seconds, forget what was older than the interval before; until cancelled."""
    last = await store.current_revision()
    while True:
        await asyncio.sleep(interval)
        current = await store.current_revision()
        if last:
            try:
                await store.compact(last)
            except Compacted:
                pass
            except StoreError as error:
                _log.warning("compaction failed; it will be tried again", error=str(error))
        last = current
