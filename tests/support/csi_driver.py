"""A CSI driver for tests: volumes are folders, each call of its Node service is noted and can be made to fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from kumo.host import mounts
from kumo.host.csi import server
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.host.csi.stubs import registration_pb2 as registration

_RPC = pb.NodeServiceCapability.RPC


class FolderDriver:
    """Serves Node on a socket below `root`; `failures` are the next answers of a method instead of its own."""

    def __init__(self, name: str, root: Path, *capabilities: str, versions: tuple[str, ...] = ("1.0.0",)) -> None:
        self.name = name
        self.root = root
        self.socket = root / "csi.sock"
        self.calls: list[tuple[str, Any]] = []
        self.failures: dict[str, list[CsiError]] = {}
        self.told: list[Any] = []
        self.limit = 5
        self._capabilities = capabilities
        self._versions = versions

    def of(self, method: str) -> list[Any]:
        """The requests of a method so far."""
        return [r for m, r in self.calls if m == method]

    async def until(self, method: str, count: int = 1) -> Any:
        """The last of `count` requests of a method, waited for."""
        async with asyncio.timeout(60):
            while len(self.of(method)) < count:
                await asyncio.sleep(0.02)
        return self.of(method)[count - 1]

    @contextlib.asynccontextmanager
    async def registered(self, registry: Path) -> AsyncIterator[None]:
        """Serve, and make itself known in the folder, while the block runs."""
        node = {
            "NodeGetInfo": self._info,
            "NodeGetCapabilities": self._able,
            "NodeStageVolume": self._stage,
            "NodeUnstageVolume": self._unstage,
            "NodePublishVolume": self._publish,
            "NodeUnpublishVolume": self._unpublish,
            "NodeExpandVolume": self._expand,
        }
        methods = {"GetInfo": self._who, "NotifyRegistrationStatus": self._notified}
        async with (
            server.serving(self.socket, {server.NODE: node}),
            server.serving(registry / f"{self.name}-reg.sock", {server.REGISTRATION: methods}),
        ):
            yield

    def _note(self, method: str, request: Any) -> None:
        copy = type(request)()
        copy.CopyFrom(request)
        self.calls.append((method, copy))
        if self.failures.get(method):
            raise self.failures[method].pop(0)

    async def _who(self, _: Any) -> Any:
        return registration.PluginInfo(
            type="CSIPlugin", name=self.name, endpoint=str(self.socket), supported_versions=self._versions
        )

    async def _notified(self, request: Any) -> Any:
        self.told.append((request.plugin_registered, request.error))
        return registration.RegistrationStatusResponse()

    async def _info(self, request: Any) -> Any:
        self._note("info", request)
        topology = pb.Topology(segments={f"topology.{self.name}/rack": "r1"})
        return pb.NodeGetInfoResponse(node_id="node-1", max_volumes_per_node=self.limit, accessible_topology=topology)

    async def _able(self, _: Any) -> Any:
        made = [pb.NodeServiceCapability(rpc=_RPC(type=_RPC.Type.Value(c))) for c in self._capabilities]
        return pb.NodeGetCapabilitiesResponse(capabilities=made)

    async def _stage(self, request: Any) -> Any:
        self._note("stage", request)
        return pb.NodeStageVolumeResponse()

    async def _unstage(self, request: Any) -> Any:
        self._note("unstage", request)
        return pb.NodeUnstageVolumeResponse()

    async def _publish(self, request: Any) -> Any:
        self._note("publish", request)
        folder, target = self.root / "volumes" / request.volume_id, Path(request.target_path)

        def show() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            target.mkdir(parents=True, exist_ok=True)
            if not mounts.is_mounted(target):
                mounts.bind(folder, target)

        await asyncio.to_thread(show)
        return pb.NodePublishVolumeResponse()

    async def _unpublish(self, request: Any) -> Any:
        self._note("unpublish", request)
        await asyncio.to_thread(mounts.unmount, request.target_path)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(Path(request.target_path).rmdir)
        return pb.NodeUnpublishVolumeResponse()

    async def _expand(self, request: Any) -> Any:
        self._note("expand", request)
        return pb.NodeExpandVolumeResponse(capacity_bytes=request.capacity_range.required_bytes)
