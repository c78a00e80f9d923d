"""The Node service: volumes are mounted (or shown as devices) for pods of this machine, grown, measured."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumo.api import quantities
from kumo.host import filesystems, loop, mounts
from kumo.host.csi.errors import CsiError
from kumo.host.csi.server import Handler
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.local_csi import backing, requests
from kumo.kubernetes.local_csi.config import TOPOLOGY, LocalCsiConfig
from kumo.kubernetes.local_csi.library import Library
from kumo.kubernetes.local_csi.records import IMAGE, VolumeRecord
from kumo.kubernetes.local_csi.work import Turns

_RPC = pb.NodeServiceCapability.RPC
_CAPABILITIES = (
    _RPC.STAGE_UNSTAGE_VOLUME,
    _RPC.GET_VOLUME_STATS,
    _RPC.EXPAND_VOLUME,
    _RPC.SINGLE_NODE_MULTI_WRITER,
)
_EPHEMERAL = "csi.storage.k8s.io/ephemeral"
_READERS = (pb.VolumeCapability.AccessMode.SINGLE_NODE_READER_ONLY,)


class Node:
    """Acts on this machine's mounts."""

    def __init__(self, config: LocalCsiConfig, library: Library, turns: Turns, abilities: backing.Abilities) -> None:
        self._config = config
        self._library = library
        self._turns = turns
        self._abilities = abilities

    def methods(self) -> Mapping[str, Handler]:
        """The methods of the service."""
        return {
            "NodeGetCapabilities": self._capabilities,
            "NodeGetInfo": self._info,
            "NodeStageVolume": self._stage,
            "NodeUnstageVolume": self._unstage,
            "NodePublishVolume": self._publish,
            "NodeUnpublishVolume": self._unpublish,
            "NodeExpandVolume": self._expand,
            "NodeGetVolumeStats": self._stats,
        }

    async def _capabilities(self, _: Any) -> Any:
        made = [pb.NodeServiceCapability(rpc=_RPC(type=t)) for t in _CAPABILITIES]
        return pb.NodeGetCapabilitiesResponse(capabilities=made)

    async def _info(self, _: Any) -> Any:
        return pb.NodeGetInfoResponse(
            node_id=self._config.node_name,
            max_volumes_per_node=self._config.max_volumes,
            accessible_topology=pb.Topology(segments={TOPOLOGY: self._config.node_name}),
        )

    # -- staging ----------------------------------------------------------------------------------------------------

    async def _stage(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")
        target = Path(requests.need(request.staging_target_path, "Staging target path"))
        capability = requests.capability_of(request.volume_capability, request.HasField("volume_capability"))

        def work() -> None:
            record = self._record(identity, capability)
            data = self._library.volumes.data(identity)
            if record.block:
                loop.attach(data)
            elif record.backing == IMAGE:
                target.mkdir(parents=True, exist_ok=True, mode=0o750)
                _check_type(record, capability)
                backing.mount_image(record, data, target, _options(capability.mount.mount_flags))
                _open_root(target)

        await self._turns.run(identity, lambda: asyncio.to_thread(work))
        return pb.NodeStageVolumeResponse()

    async def _unstage(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")
        target = Path(requests.need(request.staging_target_path, "Staging target path"))

        def work() -> None:
            if mounts.is_mounted(target):
                mounts.unmount(target)
            record = self._library.volumes.get(identity)
            if record is not None and record.block:
                for device in loop.devices_of(self._library.volumes.data(identity)):
                    loop.detach(device)

        await self._turns.run(identity, lambda: asyncio.to_thread(work))
        return pb.NodeUnstageVolumeResponse()

    # -- publishing -------------------------------------------------------------------------------------------------

    async def _publish(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")
        target = Path(requests.need(request.target_path, "Target path"))
        capability = requests.capability_of(request.volume_capability, request.HasField("volume_capability"))
        inline = request.volume_context.get(_EPHEMERAL) == "true"
        if not inline and not request.staging_target_path:
            raise CsiError("INVALID_ARGUMENT", "Staging target path missing in request")
        read_only = request.readonly or capability.access_mode.mode in _READERS

        def work() -> None:
            if inline:
                self._make_inline(identity, request.volume_context, capability)
            record = self._record(identity, capability)
            data = self._library.volumes.data(identity)
            if record.block:
                _show_device(data, target, identity)
                return
            if mounts.is_mounted(target):
                return
            target.mkdir(parents=True, exist_ok=True, mode=0o750)
            if inline and record.backing == IMAGE:
                backing.mount_image(record, data, target, _options(capability.mount.mount_flags))
                _open_root(target)
                if read_only:
                    mounts.mount("none", target, "", mounts.MS_REMOUNT | mounts.MS_RDONLY)
                return
            source = data if record.backing != IMAGE else Path(request.staging_target_path)
            if record.backing == IMAGE and not mounts.is_mounted(source):
                raise CsiError("FAILED_PRECONDITION", f"volume {identity} is not staged at {source}")
            mounts.bind(source, target, read_only=read_only)

        await self._turns.run(identity, lambda: asyncio.to_thread(work))
        return pb.NodePublishVolumeResponse()

    def _make_inline(self, identity: str, context: Mapping[str, str], capability: Any) -> None:
        if self._library.volumes.get(identity) is not None:
            return
        if capability.WhichOneof("access_type") == "block":
            raise CsiError("INVALID_ARGUMENT", "an inline volume can't be a block device")
        try:
            size = quantities.whole(context["size"]) if context.get("size") else requests.DEFAULT_SIZE
        except ValueError as error:
            raise CsiError("INVALID_ARGUMENT", f"size: {error}") from error
        size = requests.size_wanted(True, size, 0)
        asked = requests.wanted(
            [capability], {k: v for k, v in context.items() if k == "backing"}, {}, self._abilities, size
        )
        record = VolumeRecord(
            id=identity,
            name=identity,
            capacity=size,
            fs_type=asked.fs_type,
            backing=asked.backing,
            ephemeral=True,
        )
        with self._library.promised(size) as enough:
            if not enough and record.backing == IMAGE:
                raise CsiError("RESOURCE_EXHAUSTED", f"{size} bytes wanted, {self._library.available()} are free")
            self._library.volumes.add(record, lambda path: backing.fill(record, path))

    async def _unpublish(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")
        target = Path(requests.need(request.target_path, "Target path"))

        def work() -> None:
            while mounts.is_mounted(target):
                mounts.unmount(target)
            _remove_target(target)
            record = self._library.volumes.get(identity)
            if record is not None and record.ephemeral:
                self._library.volumes.remove(identity)

        await self._turns.run(identity, lambda: asyncio.to_thread(work))
        return pb.NodeUnpublishVolumeResponse()

    # -- growing and measuring --------------------------------------------------------------------------------------

    async def _expand(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")
        path = Path(requests.need(request.volume_path, "Volume path"))

        def work() -> int:
            record = self._record(identity, None)
            if not path.exists():
                raise CsiError("NOT_FOUND", f"there is nothing at {path}")
            if request.HasField("capacity_range") and request.capacity_range.required_bytes > record.capacity:
                raise CsiError(
                    "OUT_OF_RANGE", f"volume {identity} has {record.capacity} bytes: the controller grows it"
                )
            data = self._library.volumes.data(identity)
            if record.block or record.backing != IMAGE:
                return record.capacity
            at = backing.mounted_at(data)
            for device in loop.devices_of(data) if at is not None else ():
                loop.refresh_size(device)
                if backing.filled(device):
                    continue
                if not filesystems.can_grow_mounted(record.fs_type):
                    raise CsiError(
                        "FAILED_PRECONDITION",
                        f"this machine does not let a mounted {record.fs_type} file system grow (CAP_SYS_RESOURCE is "
                        "missing): it grows when the volume is mounted next",
                    )
                assert at is not None
                filesystems.grow_mounted(record.fs_type, device, at)
            return record.capacity

        size = await self._turns.run(identity, lambda: asyncio.to_thread(work))
        return pb.NodeExpandVolumeResponse(capacity_bytes=size)

    async def _stats(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")
        path = Path(requests.need(request.volume_path, "Volume path"))
        record = self._record(identity, None)

        def look() -> Any:
            if not path.exists():
                raise CsiError("NOT_FOUND", f"there is nothing at {path}")
            if record.block:
                return [pb.VolumeUsage(unit=pb.VolumeUsage.BYTES, total=record.capacity)]
            found = filesystems.usage(path)
            return [
                pb.VolumeUsage(
                    unit=pb.VolumeUsage.BYTES, total=found.total, available=found.available, used=found.used
                ),
                pb.VolumeUsage(
                    unit=pb.VolumeUsage.INODES,
                    total=found.inodes,
                    available=found.inodes_free,
                    used=found.inodes_used,
                ),
            ]

        return pb.NodeGetVolumeStatsResponse(usage=await asyncio.to_thread(look))

    def _record(self, identity: str, capability: Any | None) -> VolumeRecord:
        record = self._library.volumes.get(identity)
        if record is None:
            raise CsiError("NOT_FOUND", f"there is no volume {identity} on node {self._config.node_name}")
        if capability is not None and (capability.WhichOneof("access_type") == "block") != record.block:
            kind = "a block device" if record.block else "mounted"
            raise CsiError("INVALID_ARGUMENT", f"volume {identity} can only be {kind}")
        return record


def _check_type(record: VolumeRecord, capability: Any) -> None:
    asked = capability.mount.fs_type
    if asked and asked != record.fs_type:
        raise CsiError("INVALID_ARGUMENT", f"the file system of volume {record.id} is {record.fs_type}, not {asked}")


def _options(flags: Any) -> list[str]:
    return [f for f in flags if f]


def _open_root(target: Path) -> None:
    """A fresh file system's root is for everybody, as a fresh directory of a pod is (fsGroup narrows it)."""
    if all(entry.name == "lost+found" for entry in target.iterdir()):
        with contextlib.suppress(OSError):
            target.chmod(0o777)


def _show_device(data: Path, target: Path, identity: str) -> None:
    devices = loop.devices_of(data)
    if not devices:
        raise CsiError("FAILED_PRECONDITION", f"volume {identity} is not staged")
    wanted = devices[0].stat().st_rdev
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with contextlib.suppress(FileNotFoundError):
        if target.stat().st_rdev == wanted and stat.S_ISBLK(target.stat().st_mode):
            return
        target.unlink()
    os.mknod(target, stat.S_IFBLK | 0o660, wanted)


def _remove_target(target: Path) -> None:
    """What the driver has put there; a folder with something in it is somebody else's."""
    if target.is_dir() and not target.is_symlink():
        with contextlib.suppress(OSError):
            target.rmdir()
    else:
        target.unlink(missing_ok=True)
