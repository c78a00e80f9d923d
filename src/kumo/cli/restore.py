"""`kumo restore`: a cloud as a backup has it, in an empty data directory or in place of another."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from kumo.cli import archive, loading, stores
from kumo.cli import instance as instances
from kumo.cli.facts import user
from kumo.cli.instance import Instance, InstanceError, save
from kumo.cli.main import data_dir_option
from kumo.cli.supervisor import lock_holder
from kumo.store.transfer import Head, Summary

REVISIONS_AHEAD = 1_000_000_000
"""How much later than the backup's the first new revision is: later than any that was given out after the backup."""


@click.command("restore", short_help="Bring back a cloud from a file of 'kumo backup'.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_dir_option
@click.option("--store", metavar="URL", help="Restore into etcd://HOST:PORT,... or sqlite.  [default: as backed up]")
@stores.tls_options
@click.option("--yes", is_flag=True, help="Replace what is there.")
def command(file: Path, data_dir: Path, yes: bool, **given: Any) -> None:
    """Restore FILE. It is read and checked as a whole before anything is written; start the cloud with 'kumo up' then.

    Clients that watch or hold versions from before are told that those have expired, and list anew.
    """
    fact = user()
    if fact.level == "fault":
        raise InstanceError(f"{fact.name}: {fact.found}. To fix it: {fact.fix}")
    began = time.monotonic()
    try:
        manifest = archive.check(file)
        target = _target(manifest, data_dir.absolute(), given)
    except (archive.ArchiveError, msgspec.ValidationError) as error:
        raise InstanceError(str(error)) from error
    holder = lock_holder(target)
    if holder is not None:
        raise InstanceError(f"the cloud in {data_dir} runs (pid {holder}): end it with 'kumo down' first")
    if not yes and (target.root / "instance.json").exists():
        raise InstanceError(f"there is an instance in {data_dir} already. To replace it, say so with --yes")
    expected = Summary()
    for batch in archive.keys(file):
        expected.add(batch)
    stores.run(
        loading.load(
            target,
            Head(manifest.revision, manifest.leases),
            lambda: archive.keys(file),
            expected,
            deed="a restore",
            revision=manifest.revision + REVISIONS_AHEAD,
            overwrite=yes,
        )
    )
    _files(file, target)
    save(target)
    click.echo(
        f"Restored {manifest.keys} keys as of {manifest.created} into {stores.where(target)} and {data_dir}, in "
        f"{time.monotonic() - began:.1f} s. Start the cloud with 'kumo up'."
    )


def _target(manifest: archive.Manifest, data_dir: Path, given: dict[str, Any]) -> Instance:
    """The instance that will be: with the backup's ranges and names, in this directory. Raises InstanceError."""
    saved = msgspec.convert(manifest.instance, Instance)
    fresh = instances.choose_anew(data_dir, saved.port, saved.node_name)
    target = replace(
        saved, data_dir=fresh.data_dir, id=fresh.id, pod_cidr=saved.pod_cidr, service_cidr=saved.service_cidr
    )
    return replace(target, etcd=stores.settings(given["store"], given)) if given.get("store") else target


def _files(file: Path, target: Instance) -> None:
    """The files in place of those that are there: made beside them first, then moved."""
    fresh = target.root / "restored"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        target.root.mkdir(parents=True, exist_ok=True, mode=0o755)
        archive.extract(file, fresh)
        for path in sorted(fresh.iterdir()) if fresh.is_dir() else ():
            place = target.root / path.name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            path.replace(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
