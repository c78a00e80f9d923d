"""`kumo image`: the node's images: import archives and disks, list, pull, and the demo images."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kumo.cli import engines
from kumo.cli.instance import Instance, InstanceError, load
from kumo.cli.main import data_dir_option
from kumo.cli.supervisor import lock_holder

if TYPE_CHECKING:
    from kumo.host.containerd.archive import BuiltImage
    from kumo.host.containerd.engine import Containerd

DEMO_DISK = "quay.io/kubevirt/cirros-container-disk-demo:latest"
DEMO_CONTAINER = "docker.io/library/busybox:latest"
_DISK_MAGIC = b"QFI\xfb"
"""How a qcow2 file begins."""


def _running(data_dir: Path) -> Instance:
    instance = load(data_dir)
    if instance is None or lock_holder(instance) is None:
        raise InstanceError(f"kumo does not run on {data_dir}: images are its containerd's. Start it: kumo up --detach")
    if not engines.containerd(instance).socket.exists():
        raise InstanceError(f"the instance of {data_dir} runs without a node, so it holds no images")
    return instance


def _with_engine(data_dir: Path, work: Callable[[Containerd], Awaitable[None]]) -> None:
    from kumo.host.containerd.archive import BadArchive
    from kumo.host.containerd.engine import connect
    from kumo.host.containerd.rpc import EngineError
    from kumo.host.demo.debian import NoPackages

    instance = _running(data_dir)

    async def run() -> None:
        async with connect(engines.containerd(instance).socket) as engine:
            await work(engine)

    try:
        asyncio.run(run())
    except (EngineError, BadArchive, NoPackages, OSError) as error:
        raise InstanceError(str(error)) from error


@click.group("image", short_help="Import, list and pull images.")
def command() -> None:
    """Images of this node: import, list, pull."""


@command.command("import")
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("name", default="")
@data_dir_option
def import_(archive: Path, name: str, data_dir: Path) -> None:
    """Import ARCHIVE under NAME: an OCI or docker archive, or a VM disk (qcow2 or raw), which becomes a container disk.

    An imported image stands for its name on this node: it is used without asking the registry.
    """
    from kumo.host.containerd.images import normalize

    disk = _is_disk(archive)
    if disk and not name:
        raise InstanceError(f"{archive} is a disk: say under which NAME it is to be imported")

    async def work(engine: Containerd) -> None:
        if disk:
            from kumo.host.demo import container_disk

            names = [normalize(name)]
            await engine.images.import_image(await asyncio.to_thread(container_disk, archive), names, imported=True)
        else:
            names = await engine.images.import_archive(archive, name)
        for each in names:
            click.echo(f"imported {each}")

    _with_engine(data_dir, work)


def _is_disk(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(512)
    return head[:4] == _DISK_MAGIC or (head[510:512] == b"\x55\xaa" and head[257:262] != b"ustar")


@command.command("list")
@data_dir_option
@click.option("-o", "--output", type=click.Choice(["json"]), help="Output for scripts.")
def list_(data_dir: Path, output: str | None) -> None:
    """List the images."""

    async def work(engine: Containerd) -> None:
        images = sorted(await engine.image_service.list(), key=lambda i: list(i.repo_tags))
        if output == "json":
            rows = [{"names": [*i.repo_tags], "id": i.id, "digests": [*i.repo_digests], "size": i.size} for i in images]
            click.echo(json.dumps(rows, indent=2))
            return
        click.echo(f"{'IMAGE':<64} {'ID':<14} SIZE")
        for image in images:
            for name in image.repo_tags or ["<none>"]:
                digest = image.id.removeprefix("sha256:")[:12]
                click.echo(f"{name:<64} {digest:<14} {image.size / 2**20:.1f} MiB")

    _with_engine(data_dir, work)


@command.command("pull")
@click.argument("name")
@data_dir_option
def pull(name: str, data_dir: Path) -> None:
    """Pull NAME from its registry (or the mirror of it)."""
    from kumo.host.containerd.images import normalize

    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty() and total:
            click.echo(f"\r{done / 2**20:.1f} of {total / 2**20:.1f} MiB", nl=False, err=True)

    async def work(engine: Containerd) -> None:
        await engine.images.pull_with_progress(normalize(name), progress)
        click.echo(f"pulled {normalize(name)} in {time.monotonic() - began:.1f} s")

    _with_engine(data_dir, work)


@command.command("demo")
@data_dir_option
@click.option("--cache", type=click.Path(path_type=Path), help="Where packages and the disk are kept for another time.")
def demo(data_dir: Path, cache: Path | None) -> None:
    """Get the images of the walk-through: pulled if their registries can be reached, else made from Debian packages."""
    from kumo.host import demo as images
    from kumo.host.containerd.rpc import EngineError

    instance = _running(data_dir)

    async def get(engine: Containerd, name: str, make: Callable[[], BuiltImage]) -> None:
        if await engine.images.exists(name):
            click.echo(f"{name} is here")
            return
        began = time.monotonic()
        try:
            await engine.images.pull_with_progress(name, lambda done, total: None)
            click.echo(f"pulled {name} in {time.monotonic() - began:.1f} s")
        except EngineError:
            click.echo(f"{name} can't be pulled from its registry: making one from Debian packages instead")
            built = await asyncio.to_thread(make)
            await engine.images.import_image(built, [name], imported=True)
            click.echo(f"made and imported {name} in {time.monotonic() - began:.1f} s")

    kept = (cache or instance.root / "cache").absolute()

    async def work(engine: Containerd) -> None:
        await get(engine, DEMO_CONTAINER, lambda: images.busybox_image(kept))
        await get(engine, DEMO_DISK, lambda: images.container_disk(images.build_demo_disk_cached(kept)))

    _with_engine(data_dir, work)
