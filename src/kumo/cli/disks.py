"""The node's container disks, as OpenStack puts uploaded images there: the control plane's way to containerd."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kumo.openstack import DiskStoreError

if TYPE_CHECKING:
    from kumo.host.containerd.engine import Containerd


class NodeDisks:
    """Container disks in the containerd at `socket`; `scratch` is where layers are made (as large as the disks)."""

    def __init__(self, socket: Path, scratch: Path) -> None:
        self._socket = socket
        self._scratch = scratch

    async def put(self, disk: Path, name: str) -> None:
        """Import the disk file under the name, unless that is there. Raises DiskStoreError."""
        from kumo.host.demo import container_disk

        async with self._engine() as engine:
            if await engine.images.exists(name):
                return
            with tempfile.NamedTemporaryFile(dir=self._scratch, prefix="layer-") as layer:
                image = await asyncio.to_thread(container_disk, disk, Path(layer.name))
                await engine.images.import_image(image, [name], imported=True)

    async def remove(self, name: str) -> None:
        """Forget the image of that name. Raises DiskStoreError."""
        if not self._socket.exists():
            return
        async with self._engine() as engine:
            if await engine.images.exists(name):
                await engine.images.remove(name)

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[Containerd]:
        from kumo.host.containerd.engine import connect  # gRPC is loaded when the first image is needed
        from kumo.host.containerd.rpc import EngineError

        if not self._socket.exists():
            raise DiskStoreError("this cloud runs without a node: there is nothing to run a server on")
        try:
            async with connect(self._socket) as engine:
                yield engine
        except (EngineError, OSError) as error:
            raise DiskStoreError(f"the image could not be given to the node: {error}") from error
