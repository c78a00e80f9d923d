"""Tables of nftables that others delete: with the kernel, in this machine's own namespace, under names of our own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import uuid
from collections.abc import Iterator

import pytest

from kumo.cli.node_tables import TablesLost, TablesWatch
from kumo.host.network.table_events import TableEvents, changed_tables
from kumo.host.nftables import Nft, replaced

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: nftables"),
]


@pytest.fixture
def prefix() -> Iterator[str]:
    name = f"kumo-t{uuid.uuid4().hex[:6]}-"
    yield name
    nft = Nft()
    for family, table in nft.tables(name):
        nft.delete_table(family, table)


async def test_a_table_that_somebody_else_deletes_is_told(prefix: str) -> None:
    nft, other = Nft(), Nft()
    await nft.apply_async(f"add table ip {prefix}a\nadd table ip6 {prefix}a\n")
    watch = asyncio.create_task(TablesWatch(prefix, nft, settle=0.1).run())
    try:
        # What the node does itself is no loss: a new table, one replaced at once, one made and deleted at once.
        await asyncio.sleep(0.1)
        await nft.apply_async(f"add table ip {prefix}b\n")
        await nft.apply_async(replaced("ip", f"{prefix}a") + f"add table ip {prefix}a\n")
        await nft.apply_async(replaced("inet", f"{prefix}c"))
        done, _ = await asyncio.wait({watch}, timeout=1.0)
        assert not done
        # One family's is gone, the other's of the same name is there.
        await other.apply_async(f"delete table ip6 {prefix}a\n")
        with pytest.raises(TablesLost, match=f"ip6 {prefix}a$"):
            async with asyncio.timeout(60):
                await watch
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError, TablesLost):
            await watch


async def test_changes_within_tables_are_no_news(prefix: str) -> None:
    nft, events = Nft(), TableEvents()
    try:
        await nft.apply_async(f"add table ip {prefix}a\n")
        async with asyncio.timeout(60):
            while f"{prefix}a" not in await events.next():
                pass
        await nft.apply_async(f"add chain ip {prefix}a c\nadd rule ip {prefix}a c accept\n")
        await nft.apply_async(f"delete table ip {prefix}a\n")
        async with asyncio.timeout(60):
            assert f"{prefix}a" in await events.next()
    finally:
        events.close()


@pytest.mark.parametrize(
    "message", [b"", b"\0" * 7, b"\0" * 64, struct.pack("=IHHII", 1 << 30, 2562, 0, 0, 0), b"\xff" * 99]
)
def test_what_cannot_be_read_is_passed_over(message: bytes) -> None:
    assert list(changed_tables(message)) == []
