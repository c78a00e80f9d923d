"""The bytes of images: files named by the SHA-512 of their content, written beside and renamed when complete."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kumo.openstack.common.files import blob_path
from kumo.openstack.glance import formats

_PIECE = 1 << 20
"""Bytes that are hashed and written at a time, which is all that an upload holds in memory."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of content after it has been written."""

    size: int
    md5: str
    sha512: str
    virtual_size: int | None
    part: Path
    """Where it lies until `BlobStore.keep`."""


class _Upload:
    """One file being written; its methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.head = b""
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha512 = hashlib.sha512()
        self._file: BinaryIO = path.open("xb")

    def write(self, data: bytes) -> None:
        if len(self.head) < formats.HEAD:
            self.head += data[: formats.HEAD - len(self.head)]
        self._md5.update(data)
        self._sha512.update(data)
        self._file.write(data)
        self.size += len(data)

    def finish(self, declared: str) -> Stored:
        virtual = formats.inspect(self.head, self.size, declared)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Stored(self.size, self._md5.hexdigest(), self._sha512.hexdigest(), virtual, self.path)

    def abandon(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class BlobStore:
    """The files below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = asyncio.Lock()
        """Held while a blob's last user is looked for, and while a new one is noted."""

    def prepare(self) -> None:
        """Make the folders, remove what uploads left that a crash cut off. Blocks."""
        for name in ("sha512", "uploads"):
            (self.directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in (self.directory / "uploads").iterdir():
            left.unlink(missing_ok=True)

    async def write(self, chunks: AsyncIterator[bytes], declared: str) -> Stored:
        """Write the content down; `keep` it then. Raises BadDisk, OSError (a full disk) and what `chunks` raises;
        then nothing is left of it.
        """
        upload = await asyncio.to_thread(_Upload, self.directory / "uploads" / uuid.uuid4().hex)
        try:
            waiting = bytearray()
            async for chunk in chunks:
                waiting += chunk
                if len(waiting) >= _PIECE:
                    await asyncio.to_thread(upload.write, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(upload.write, bytes(waiting))
            return await asyncio.shield(asyncio.to_thread(upload.finish, declared))
        except BaseException:
            with contextlib.suppress(OSError):
                upload.abandon()
            raise

    async def keep(self, stored: Stored) -> None:
        """Give the content its final place. To be called with `lock` held until an image says that it uses it."""
        await asyncio.to_thread(_settle, stored.part, blob_path(self.directory, stored.sha512))

    async def read(self, sha512: str, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes of the content from `start` on."""
        file = await asyncio.to_thread(blob_path(self.directory, sha512).open, "rb")
        try:
            await asyncio.to_thread(file.seek, start)
            left = length
            while left:
                piece = await asyncio.to_thread(file.read, min(_PIECE, left))
                if not piece:
                    raise ConnectionError("the image's file is shorter than it should be")
                left -= len(piece)
                yield piece
        finally:
            file.close()

    async def remove(self, sha512: str) -> None:
        """Remove the content; nothing to do if it is not there."""
        await asyncio.to_thread(blob_path(self.directory, sha512).unlink, missing_ok=True)


def _settle(part: Path, target: Path) -> None:
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
