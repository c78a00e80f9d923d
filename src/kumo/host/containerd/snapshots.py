"""Root file systems of images: unpack the layers if nobody has yet, mount them read-only, read a file out of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio

from kumo.host import mounts
from kumo.host.containerd.archive import chain_ids
from kumo.host.containerd.content import ContentStore
from kumo.host.containerd.images import ImageStore
from kumo.host.containerd.rpc import EngineError, Method
from kumo.host.containerd.stubs import engine_pb2 as engine


class SnapshotStore:
    """The snapshots of one snapshotter."""

    def __init__(self, channel: grpc.aio.Channel, content: ContentStore, images: ImageStore, snapshotter: str) -> None:
        service = "/containerd.services.snapshots.v1.Snapshots"
        self._name = snapshotter
        self._content = content
        self._images = images
        self._prepare = Method(channel, f"{service}/Prepare", engine.SnapshotRequest, engine.MountsResponse)
        self._view = Method(channel, f"{service}/View", engine.SnapshotRequest, engine.MountsResponse)
        self._mounts = Method(channel, f"{service}/Mounts", engine.SnapshotKey, engine.MountsResponse)
        self._commit = Method(channel, f"{service}/Commit", engine.CommitSnapshotRequest, engine.Nothing)
        self._remove = Method(channel, f"{service}/Remove", engine.SnapshotKey, engine.Nothing)
        self._stat = Method(channel, f"{service}/Stat", engine.SnapshotKey, engine.StatSnapshotResponse)
        self._apply = Method(
            channel, "/containerd.services.diff.v1.Diff/Apply", engine.ApplyRequest, engine.ApplyResponse
        )

    async def unpack(self, image: str) -> str:
        """Make sure that the image's layers are unpacked; the chain id of its file system."""
        config, layers, _ = await self._images.configuration(image)
        chain = chain_ids(config["rootfs"]["diff_ids"])
        async with self._content.lease() as lease:
            for position, (name, layer) in enumerate(zip(chain, layers)):
                if not await self._exists(name):
                    parent = chain[position - 1] if position else ""
                    await self._unpack_layer(name, parent, layer, lease)
        return chain[-1] if chain else ""

    async def mount_image(self, image: str, target: Path, key: str) -> None:
        """Mount the image's root file system read-only at `target` (made if missing).

        `key` names the mount among all of this node's; the same key again gives the same view. The view keeps the
        image's files from being collected until `unmount_image(target, key)`. Raises EngineError, OSError.
        """
        chain = await self.unpack(image)
        labels = {"containerd.io/gc.root": "kumo"}
        try:
            answer = await self._view(
                engine.SnapshotRequest(snapshotter=self._name, key=key, parent=chain, labels=labels)
            )
        except EngineError as error:
            if error.code != "ALREADY_EXISTS":
                raise
            answer = await self._mounts(engine.SnapshotKey(snapshotter=self._name, key=key))

        def attach() -> None:
            target.mkdir(parents=True, exist_ok=True)
            if mounts.is_mounted(target):
                return
            for step in answer.mounts:
                options = [*step.options] if "ro" in step.options else [*step.options, "ro"]
                mounts.mount_options(step.source, target, step.type, options)

        try:
            await asyncio.to_thread(attach)
        except OSError:
            await self.unmount_image(target, key)
            raise

    async def unmount_image(self, target: Path, key: str) -> None:
        """Undo `mount_image`; fine if there is nothing left to undo."""

        def detach() -> None:
            mounts.unmount_below(target)
            with contextlib.suppress(OSError):
                target.rmdir()

        await asyncio.to_thread(detach)
        try:
            await self._remove(engine.SnapshotKey(snapshotter=self._name, key=key))
        except EngineError as error:
            if error.code != "NOT_FOUND":
                raise

    @contextlib.asynccontextmanager
    async def mounted(self, image: str) -> AsyncIterator[Path]:
        """The image's root file system at a temporary place, read-only, for as long as the block lasts."""
        with TemporaryDirectory(prefix="kumo-image-") as scratch:
            target = Path(scratch) / "root"
            key = f"kumo-read-{Path(scratch).name}"
            await self.mount_image(image, target, key)
            try:
                yield target
            finally:
                await self.unmount_image(target, key)

    async def _exists(self, name: str) -> bool:
        try:
            await self._stat(engine.SnapshotKey(snapshotter=self._name, key=name))
        except EngineError as error:
            if error.code == "NOT_FOUND":
                return False
            raise
        return True

    async def _unpack_layer(self, name: str, parent: str, layer: dict[str, object], lease: str) -> None:
        key = f"kumo-unpack-{lease}-{name}"
        request = engine.SnapshotRequest(snapshotter=self._name, key=key, parent=parent)
        prepared = await self._prepare(request, lease=lease)
        descriptor = engine.Descriptor(
            media_type=str(layer["mediaType"]), digest=str(layer["digest"]), size=int(str(layer["size"]))
        )
        try:
            await self._apply(engine.ApplyRequest(diff=descriptor, mounts=prepared.mounts), timeout=1800.0, lease=lease)
            commit = engine.CommitSnapshotRequest(snapshotter=self._name, name=name, key=key)
            await self._commit(commit, lease=lease)
        except EngineError as error:
            with contextlib.suppress(EngineError):
                await self._remove(engine.SnapshotKey(snapshotter=self._name, key=key))
            if error.code != "ALREADY_EXISTS":  # somebody else unpacked it meanwhile
                raise
