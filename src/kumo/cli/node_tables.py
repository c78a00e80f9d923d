"""Watches over the node's tables of nftables: when somebody deletes one, the node begins again and writes all anew.

Without them services do not answer and, worse, network policies hold nobody. Upstream's kube-proxy finds out by its
next full sync, 30 seconds later; here the kernel tells.
"""

from __future__ import annotations

import asyncio

from kumo.host.network.table_events import LOST, TableEvents
from kumo.host.nftables import Nft


class TablesLost(Exception):
    """Tables of this node have been deleted by somebody else; the message names them."""


class TablesWatch:
    """Raises TablesLost when a table whose name begins with `prefix` was there and is gone.

    The node itself replaces a table in one transaction, and takes none away as long as it runs.
    """

    name = "tables-watch"

    def __init__(self, prefix: str, nft: Nft, settle: float = 0.5) -> None:
        self._prefix = prefix
        self._nft = nft
        self._settle = settle
        """Seconds from the news to the look: one reload is many transactions."""

    async def run(self) -> None:
        """Watch until cancelled."""
        events = TableEvents()
        try:
            known = await self._tables()
            while True:
                changed = await events.next()
                if not any(name == LOST or name.startswith(self._prefix) for name in changed):
                    continue
                await asyncio.sleep(self._settle)
                there = await self._tables()
                if lost := sorted(known - there):
                    names = ", ".join(f"{family} {name}" for family, name in lost)
                    raise TablesLost(f"tables of nftables were deleted by somebody else: {names}")
                known = there
        finally:
            events.close()

    async def _tables(self) -> set[tuple[str, str]]:
        return set(await asyncio.to_thread(self._nft.tables, self._prefix))
