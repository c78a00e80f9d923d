"""Images in containerd's own store: import built ones and archives without a client program, name them, list them.

Images imported here are the same to CRI as pulled ones (label `io.cri-containerd.image=managed`). Pulling is CRI's
(`cri.ImageService.pull`); `pull_with_progress` watches the content store meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec

from kumo.host.containerd import archive
from kumo.host.containerd.archive import Blob, BuiltImage
from kumo.host.containerd.content import ContentStore
from kumo.host.containerd.cri import ImageService
from kumo.host.containerd.rpc import EngineError, Method
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.host.containerd.stubs import engine_pb2 as engine

_MANAGED = {"io.cri-containerd.image": "managed"}
_PINNED = {"io.cri-containerd.pinned": "pinned"}
_IMPORTED = {"kumo.dev/imported": "true"}
"""Marks an image that was put here by hand: it stands for its name, its registry is not asked for a newer one."""


class ImageStore:
    """containerd's images: names that point at manifests."""

    def __init__(
        self, channel: grpc.aio.Channel, content: ContentStore, service: ImageService, snapshotter: str
    ) -> None:
        path = "/containerd.services.images.v1.Images"
        self._content = content
        self._service = service
        self._snapshotter = snapshotter
        self._get = Method(channel, f"{path}/Get", engine.GetImageRequest, engine.ImageMessage)
        self._create = Method(channel, f"{path}/Create", engine.ImageMessage, engine.ImageMessage)
        self._update = Method(channel, f"{path}/Update", engine.ImageMessage, engine.ImageMessage)
        self._delete = Method(channel, f"{path}/Delete", engine.DeleteImageRequest, engine.Nothing)

    async def import_image(
        self, image: BuiltImage, names: Sequence[str], *, pinned: bool = False, imported: bool = False
    ) -> str:
        """Store the image under `names` (full references, e.g. docker.io/library/busybox:1); its config digest.

        A name that is taken moves to this image. A pinned image is never collected as unused; an `imported` one is
        the user's own, and used without asking its registry.
        """
        # GC labels say what the manifest and the config need, so that nothing of the image is collected.
        references = {"containerd.io/gc.ref.content.config": image.config.digest}
        references |= {f"containerd.io/gc.ref.content.l.{i}": layer.digest for i, layer in enumerate(image.layers)}
        snapshot = {f"containerd.io/gc.ref.snapshot.{self._snapshotter}": image.chain_id} if image.chain_id else {}
        async with self._content.lease() as lease:
            for layer in image.layers:
                await self._put(layer, {}, lease)
            await self._put(image.config, snapshot, lease)
            await self._put(image.manifest, references, lease)
            target = engine.Descriptor(
                media_type=image.media_type, digest=image.manifest.digest, size=image.manifest.size
            )
            labels = _MANAGED | (_PINNED if pinned else {}) | (_IMPORTED if imported else {})
            for name in names:
                await self._name(engine.EngineImage(name=name, target=target, labels=labels))
        await self._seen(names)
        return image.config.digest

    async def import_archive(self, path: Path, name: str = "") -> list[str]:
        """Import an OCI or docker archive; the names its images now have. `name` overrides those in the archive.

        Raises archive.BadArchive, also when neither the archive nor `name` says what to call the image.
        """
        imported: list[str] = []
        for image in await asyncio.to_thread(archive.read_archive, path):
            names = [normalize(n) for n in ([name] if name else image.names)]
            if not names:
                raise archive.BadArchive(f"{path} does not say what its image is called: give a name")
            await self.import_image(image, names, imported=True)
            imported += names
        return imported

    async def exists(self, name: str) -> bool:
        """Whether an image of exactly that (full) name is here."""
        try:
            await self._get(engine.GetImageRequest(name=name))
        except EngineError as error:
            if error.code == "NOT_FOUND":
                return False
            raise
        return True

    async def is_imported(self, name: str) -> bool:
        """Whether the (short or full) name is that of an image which was imported here by hand."""
        return _IMPORTED.items() <= (await self._labels(name)).items()

    async def marks(self, name: str) -> tuple[bool, bool]:
        """Whether the image of that (short or full) name was imported by hand, and whether it is pinned: kumo's own."""
        labels = (await self._labels(name)).items()
        return _IMPORTED.items() <= labels, _PINNED.items() <= labels

    async def is_kept(self, name: str) -> bool:
        """Whether it is to stay even if nobody uses it: imported by hand, or pinned.

        The CRI of containerd 1.6 does not tell of the latter.
        """
        labels = await self._labels(name)
        return any(marks.items() <= labels.items() for marks in (_IMPORTED, _PINNED))

    async def _labels(self, name: str) -> dict[str, str]:
        try:
            found = await self._get(engine.GetImageRequest(name=normalize(name)))
        except EngineError as error:
            if error.code == "NOT_FOUND":
                return {}
            raise
        return dict(found.image.labels)

    async def remove(self, name: str) -> None:
        """Take the name away; fine if it is not here."""
        try:
            await self._delete(engine.DeleteImageRequest(name=name, sync=True))
        except EngineError as error:
            if error.code != "NOT_FOUND":
                raise

    async def configuration(self, name: str) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
        """The OCI configuration (with `rootfs.diff_ids`), the layers' descriptors, and the manifest's digest.

        `name` may be a name, a tag's short form or an image id. Raises EngineError NOT_FOUND.
        """
        found = await self._service.status(name)
        if found is None:
            raise EngineError("NOT_FOUND", f'image "{name}" is not here')
        known = [*found.repo_tags, *found.repo_digests]
        stored = await self._get(engine.GetImageRequest(name=known[0] if known else found.id))
        digest = stored.image.target.digest
        manifest = msgspec.json.decode(await self._content.read(digest))
        if "manifests" in manifest:
            entry = archive.for_this_machine(manifest["manifests"])
            digest = entry["digest"]
            manifest = msgspec.json.decode(await self._content.read(digest))
        config = msgspec.json.decode(await self._content.read(manifest["config"]["digest"]))
        return config, manifest["layers"], digest

    async def pull_with_progress(
        self, name: str, progress: Callable[[int, int], None], auth: cri.AuthConfig | None = None
    ) -> str:
        """Pull, calling `progress(bytes so far, bytes known in all)` a few times a second; the image's id.

        An image that was imported under the name is one from its registry from then on.
        """
        pull = asyncio.ensure_future(self._service.pull(name, auth))
        seen: dict[str, tuple[int, int]] = {}
        try:
            while not (await asyncio.wait([pull], timeout=0.25))[0]:
                current = await self._content.downloads()
                for ref, (_, total) in list(seen.items()):
                    if ref not in current:
                        seen[ref] = (total, total)
                seen |= {r: v for r, v in current.items() if "layer-" in r}
                progress(sum(v[0] for v in seen.values()), sum(v[1] for v in seen.values()))
            image = pull.result()
            await self._from_registry(normalize(name))
            return image
        finally:
            pull.cancel()

    async def _from_registry(self, name: str) -> None:
        """The name is the registry's again: what was imported under it before no longer stands for it."""
        found = (await self._get(engine.GetImageRequest(name=name))).image
        if _IMPORTED.items() <= dict(found.labels).items():
            for label in _IMPORTED:
                del found.labels[label]
            await self._update(engine.ImageMessage(image=found))

    async def _put(self, blob: Blob, labels: dict[str, str], lease: str) -> None:
        data: bytes | AsyncIterator[bytes] = blob.data if blob.data is not None else _read(blob)
        await self._content.write(blob.digest, blob.size, data, labels=labels, lease=lease)

    async def _name(self, image: engine.EngineImage) -> None:
        try:
            await self._create(engine.ImageMessage(image=image))
        except EngineError as error:
            if error.code != "ALREADY_EXISTS":
                raise
            await self._update(engine.ImageMessage(image=image))

    async def _seen(self, names: Sequence[str], timeout: float = 5.0) -> None:
        # CRI learns of new images from containerd's events, a moment later.
        async with asyncio.timeout(timeout):
            for name in names:
                while await self._service.status(name) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


async def _read(blob: Blob) -> AsyncIterator[bytes]:
    stream = await asyncio.to_thread(blob.open)
    try:
        left = blob.size
        while left:
            piece = await asyncio.to_thread(stream.read, min(left, 1 << 20))
            if not piece:
                raise archive.BadArchive(f"the archive ends within blob {blob.digest}")
            left -= len(piece)
            yield piece
    finally:
        await asyncio.to_thread(stream.close)


def normalize(name: str) -> str:
    """The full reference: registry host and tag filled in (`busybox` -> `docker.io/library/busybox:latest`)."""
    first, slash, rest = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    elif first in ("docker.io", "index.docker.io") and "/" not in rest:
        name = f"docker.io/library/{rest}"
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"
