"""A connection to containerd: all its services over one channel."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from kumo.host.containerd.archive import File, ImageConfig, build_image
from kumo.host.containerd.config import configured_snapshotter
from kumo.host.containerd.content import ContentStore
from kumo.host.containerd.cri import ImageService, RuntimeService
from kumo.host.containerd.events import Events
from kumo.host.containerd.images import ImageStore
from kumo.host.containerd.rpc import open_channel
from kumo.host.containerd.snapshots import SnapshotStore
from kumo.host.containerd.tasks import Tasks

PAUSE = Path(__file__).parent.parent / "native" / "bin" / "pause"


class Containerd:
    """containerd behind its socket. It may come and go: calls made meanwhile raise EngineError UNAVAILABLE."""

    def __init__(self, socket: str | Path, *, snapshotter: str = "") -> None:
        """`snapshotter` is the one that CRI uses; by default as the configuration beside the socket says."""
        snapshotter = snapshotter or configured_snapshotter(Path(socket).parent / "config.toml")
        self.socket = Path(socket)
        self._channel = open_channel(str(socket))
        self.runtime = RuntimeService(self._channel)
        self.image_service = ImageService(self._channel)
        self.tasks = Tasks(self._channel, self.socket.parent / "exec")
        self.events = Events(self._channel)
        self.content = ContentStore(self._channel)
        self.images = ImageStore(self._channel, self.content, self.image_service, snapshotter)
        self.snapshots = SnapshotStore(self._channel, self.content, self.images, snapshotter)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()

    def process(self) -> int:
        """The pid of the containerd that listens. Raises OSError when none does."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(self.socket))
            pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    async def ensure_pause(self, name: str) -> None:
        """Make sure that the sandbox image is here under `name`: kumo's own static pause, nothing else in it."""
        if not await self.images.exists(name):
            entry = File("/pause", PAUSE, mode=0o755)
            image = build_image(files=[entry], config=ImageConfig(entrypoint=["/pause"]))
            await self.images.import_image(image, [name], pinned=True)


@contextlib.asynccontextmanager
async def connect(socket: str | Path, *, snapshotter: str = "") -> AsyncIterator[Containerd]:
    """A connection for as long as the block lasts."""
    engine = Containerd(socket, snapshotter=snapshotter)
    try:
        yield engine
    finally:
        await engine.close()
