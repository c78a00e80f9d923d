"""`kumo store`: where the cloud's objects are kept, and moving them to another engine."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kumo.cli import loading, stores
from kumo.cli.instance import Instance, InstanceError, load, save
from kumo.cli.main import data_dir_option
from kumo.cli.progress import counter
from kumo.cli.supervisor import lock_holder


@click.group("store", short_help="Look at the store of objects, or move it to another engine.")
def command() -> None:
    """The store: where all objects of the cloud are kept."""


@command.command("status")
@data_dir_option
def status(data_dir: Path) -> None:
    """Say which engine the objects are in, how many keys there are, and the revision."""
    instance = _instance(data_dir)

    async def look() -> tuple[int, int]:
        async with stores.dump(instance) as source:
            count = 0
            async for batch in source.batches:
                count += len(batch)
            return source.head.revision, count

    revision, count = stores.run(look())
    click.echo(f"store:    {stores.where(instance)}\nrevision: {revision}\nkeys:     {count}")


@command.command("migrate")
@data_dir_option
@click.option("--to", "target", required=True, metavar="URL", help="etcd://HOST:PORT,HOST:PORT,... or sqlite.")
@stores.tls_options
@click.option("--yes", is_flag=True, help="Replace what is in the target already.")
def migrate(data_dir: Path, target: str, yes: bool, **files: Any) -> None:
    """Move the objects of a stopped cloud to another engine. The source stays as it is."""
    instance = _instance(data_dir)
    holder = lock_holder(instance)
    if holder is not None:
        raise InstanceError(f"the cloud runs (pid {holder}): end it with 'kumo down' first, on every machine")
    moved = replace(instance, etcd=stores.settings(target, files))
    if moved.etcd == instance.etcd or (moved.etcd and stores.where(moved) == stores.where(instance)):
        raise InstanceError(f"the objects are in {stores.where(instance)} already")
    began = time.monotonic()

    async def work() -> int:
        async with stores.dump(instance) as source:
            parts, summary = await loading.collect(source, counter("read"))
        await loading.load(
            moved, source.head, lambda: parts, summary, deed="a migration", revision=source.head.revision + 1,
            overwrite=yes,
        )  # fmt: skip
        return summary.count

    count = stores.run(work())
    save(moved)
    click.echo(
        f"Moved {count} keys from {stores.where(instance)} to {stores.where(moved)} in "
        f"{time.monotonic() - began:.1f} s; counts and checksums agree. The source is untouched."
    )


def _instance(data_dir: Path) -> Instance:
    found = load(data_dir.absolute())
    if found is None:
        raise InstanceError(f"there is no instance in {data_dir}")
    return found
