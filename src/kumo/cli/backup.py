"""`kumo backup`: everything that a cloud is, in one file, while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

import kumo
from kumo.cli import archive, stores
from kumo.cli.instance import Instance, InstanceError, load
from kumo.cli.main import data_dir_option
from kumo.cli.progress import counter

_SETTINGS = ("*.yaml", "*.yml", "*.json", "server-token")


@click.command("backup", short_help="Save the cloud's objects, keys and settings in a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@data_dir_option
@click.option("--images", is_flag=True, help="The bytes of uploaded images too.")
def command(file: Path, data_dir: Path, images: bool) -> None:
    """Write FILE: all objects as of one moment, certificates and keys, and settings; the cloud may go on running.

    The bytes of volumes, of running pods and of VMs' disks are not in it. FILE holds secrets: keep it like a key.
    """
    instance = load(data_dir.absolute())
    if instance is None:
        raise InstanceError(f"there is no instance in {data_dir}")
    began = time.monotonic()
    fresh = file.with_name(file.name + ".part")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
            manifest = stores.run(_write(instance, archive.Writer(target), images))
            target.flush()
            os.fsync(target.fileno())
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    click.echo(
        f"Saved {manifest.keys} keys as of revision {manifest.revision} and "
        f"{sum(name.startswith('files/') for name in manifest.members)} files in {file} "
        f"({file.stat().st_size / 1e6:.1f} MB), in {time.monotonic() - began:.1f} s."
    )


async def _write(instance: Instance, writer: archive.Writer, images: bool) -> archive.Manifest:
    say = counter("saved")
    async with stores.dump(instance) as source:
        async for batch in source.batches:
            writer.keys(batch)
            say(writer.summary.count)
    for path in _files(instance, images):
        writer.copy(path, str(path.relative_to(instance.root)))
    manifest = archive.Manifest(
        archive.FORMAT,
        kumo.__version__,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        source.head.revision,
        0,
        "",
        source.head.leases,
        asdict(instance),
        images,
        {},
    )
    writer.finish(manifest)
    return manifest


def _files(instance: Instance, images: bool) -> Iterator[Path]:
    for pattern in _SETTINGS:
        yield from (p for p in sorted(instance.root.glob(pattern)) if p.is_file() and p.name != "instance.json")
    yield from (p for p in sorted(instance.pki_dir.rglob("*")) if p.is_file() and not p.is_symlink())
    if images:
        yield from (p for p in sorted(instance.images_dir.rglob("*")) if p.is_file() and not p.is_symlink())
