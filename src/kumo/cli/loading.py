"""Putting a store's data in place of what an instance has: for restore and migration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kumo.cli import stores
from kumo.cli.instance import Instance, InstanceError
from kumo.store.base import KeyValue
from kumo.store.transfer import Head, SqliteDump, Summary, write_sqlite


async def load(
    instance: Instance,
    head: Head,
    batches: Callable[[], Iterable[list[KeyValue]]],
    expected: Summary,
    *,
    deed: str,
    revision: int,
    overwrite: bool,
) -> None:
    """Write the data into the instance's store, and read it again. `deed` as in "a restore".

    Raises InstanceError when there is data already (unless `overwrite`) or when what was written is not what was read;
    StoreError.
    """
    found = stores.address(instance)
    if found is None:
        if not overwrite and instance.store_path.exists() and (count := _count(instance)):
            raise _occupied(stores.where(instance), count)
        written = write_sqlite(instance.store_path, head, batches(), revision=revision)
    else:
        from kumo.store.etcd.transfer import Import

        async with Import(found, deed) as target:
            if not overwrite and (count := await target.present()):
                raise _occupied(f"{stores.where(instance)} below {found.prefix}", count)
            await target.begin(max(revision, head.revision))
            for batch in batches():
                await target.write(batch, head.leases)
            written = await target.read_back()
            if written.checksum == expected.checksum:
                await target.finish()
    if (written.count, written.checksum) != (expected.count, expected.checksum):
        raise InstanceError(
            f"{deed} failed: {written.count} keys arrived in {stores.where(instance)} of {expected.count}, or their "
            "values differ. The source is as it was"
        )


def _count(instance: Instance) -> int:
    dump, summary = SqliteDump(instance.store_path), Summary()
    try:
        for batch in dump.batches():
            summary.add(batch)
    finally:
        dump.close()
    return summary.count


def _occupied(where: str, count: int) -> Exception:
    return InstanceError(f"there are {count} keys already in {where}. To replace them, say so with --yes")


async def collect(source: stores.Dump, say: Callable[[int], Any]) -> tuple[list[list[KeyValue]], Summary]:
    """Everything of a dump, in memory, and what it sums to; `say` is told how much there is so far."""
    parts: list[list[KeyValue]] = []
    summary = Summary()
    async for batch in source.batches:
        summary.add(batch)
        parts.append(batch)
        say(summary.count)
    return parts, summary
