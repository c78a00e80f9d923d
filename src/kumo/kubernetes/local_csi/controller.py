"""The Controller service: volumes are made, grown, changed, counted and removed. Snapshots are in `snapshots`."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.wrappers_pb2 import Int64Value

from kumo.host.csi.errors import CsiError
from kumo.host.csi.server import Handler
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.local_csi import backing, requests
from kumo.kubernetes.local_csi.config import TOPOLOGY, LocalCsiConfig
from kumo.kubernetes.local_csi.library import Library
from kumo.kubernetes.local_csi.records import IMAGE, THICK, SnapshotRecord, Source, VolumeRecord
from kumo.kubernetes.local_csi.work import Turns

_RPC = pb.ControllerServiceCapability.RPC
_CAPABILITIES = (
    _RPC.CREATE_DELETE_VOLUME,
    _RPC.LIST_VOLUMES,
    _RPC.GET_CAPACITY,
    _RPC.CREATE_DELETE_SNAPSHOT,
    _RPC.LIST_SNAPSHOTS,
    _RPC.CLONE_VOLUME,
    _RPC.EXPAND_VOLUME,
    _RPC.GET_VOLUME,
    _RPC.GET_SNAPSHOT,
    _RPC.SINGLE_NODE_MULTI_WRITER,
    _RPC.MODIFY_VOLUME,
)


class Controller:
    """Answers for the volumes of one node."""

    def __init__(self, config: LocalCsiConfig, library: Library, turns: Turns, abilities: backing.Abilities) -> None:
        self._config = config
        self._library = library
        self._turns = turns
        self._abilities = abilities

    def methods(self) -> Mapping[str, Handler]:
        """The methods of the service that are about volumes."""
        return {
            "ControllerGetCapabilities": self._capabilities,
            "CreateVolume": self._create,
            "DeleteVolume": self._delete,
            "ValidateVolumeCapabilities": self._validate,
            "ListVolumes": self._list,
            "ControllerGetVolume": self._get,
            "GetCapacity": self._capacity,
            "ControllerExpandVolume": self._expand,
            "ControllerModifyVolume": self._modify,
        }

    async def _capabilities(self, _: Any) -> Any:
        made = [pb.ControllerServiceCapability(rpc=_RPC(type=t)) for t in _CAPABILITIES]
        return pb.ControllerGetCapabilitiesResponse(capabilities=made)

    # -- making and removing ----------------------------------------------------------------------------------------

    async def _create(self, request: Any) -> Any:
        name = requests.name_of(request.name, "Name")
        if not requests.reachable(
            request.accessibility_requirements, request.HasField("accessibility_requirements"), self._config.node_name
        ):
            raise CsiError("RESOURCE_EXHAUSTED", f"volumes made here are on node {self._config.node_name}")
        return await self._turns.run(f"name {name}", lambda: self._made(request, name))

    async def _made(self, request: Any, name: str) -> Any:
        found = self._library.volumes.named(name)
        source = _source(request)
        origin = None if found is not None else self._origin(source)
        least = origin.capacity if isinstance(origin, VolumeRecord) else origin.size if origin else requests.LEAST
        sizes = request.capacity_range
        given = request.HasField("capacity_range")
        size = requests.size_wanted(given, sizes.required_bytes, sizes.limit_bytes, least)
        asked = requests.wanted(
            request.volume_capabilities,
            request.parameters,
            request.mutable_parameters,
            self._abilities,
            found.capacity if found else size,
        )
        if found is not None:
            if not _named(request) or source != ("", ""):
                asked = dataclasses.replace(asked, fs_type=found.fs_type)
            why = requests.contradiction(found, asked, source, sizes.required_bytes, sizes.limit_bytes)
            if why:
                raise CsiError("ALREADY_EXISTS", f"there is a volume named {name}, but {why}")
            return pb.CreateVolumeResponse(volume=self.describe(found))
        record = VolumeRecord(
            id=f"{uuid.uuid4().hex}@{self._config.place}",
            name=name,
            capacity=size,
            block=asked.block,
            fs_type=origin.fs_type if origin is not None else asked.fs_type,
            backing=asked.backing,
            allocation=asked.allocation,
            source=Source(*source),
        )
        if origin is not None and asked.fs_type != record.fs_type and _named(request):
            raise CsiError("INVALID_ARGUMENT", f"the source's file system is {record.fs_type}, not {asked.fs_type}")
        if origin is not None and not backing.fits(record, origin):
            raise CsiError("INVALID_ARGUMENT", f"a {_words(record)} can't be made from a {_words(origin)}")
        await self._fill(record, origin)
        return pb.CreateVolumeResponse(volume=self.describe(record))

    async def _fill(self, record: VolumeRecord, origin: VolumeRecord | SnapshotRecord | None) -> None:
        if origin is None:
            await asyncio.to_thread(self._add, record, lambda target: backing.fill(record, target))
            return

        async def copy() -> None:
            shelf = self._library.volumes if isinstance(origin, VolumeRecord) else self._library.snapshots
            if shelf.get(origin.id) is None:
                raise CsiError("NOT_FOUND", f"{origin.id} is gone")
            data = shelf.data(origin.id)

            def fill(target: Path) -> None:
                backing.fill_from(record, data, backing.mounted_at(data), target)

            await asyncio.to_thread(self._add, record, fill)

        # What is copied from must stay as it is meanwhile.
        await self._turns.run(origin.id, copy)

    def _add(self, record: VolumeRecord, fill: Any) -> None:
        with self._library.promised(record.capacity) as enough:
            if not enough and record.backing == IMAGE:
                free = self._library.available()
                raise CsiError("RESOURCE_EXHAUSTED", f"{record.capacity} bytes wanted, {free} are free on this node")
            self._library.volumes.add(record, fill)

    def _origin(self, source: tuple[str, str]) -> VolumeRecord | SnapshotRecord | None:
        kind, identity = source
        if not kind:
            return None
        found: VolumeRecord | SnapshotRecord | None = (
            self._library.volumes.get(identity) if kind == "volume" else self._library.snapshots.get(identity)
        )
        if found is None:
            raise CsiError("NOT_FOUND", f"there is no {kind} {identity} on node {self._config.node_name}")
        return found

    async def _delete(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")

        async def work() -> Any:
            found = self._library.volumes.get(identity)
            if found is None:
                self._here(identity)
                return pb.DeleteVolumeResponse()
            data = self._library.volumes.data(identity)
            if await asyncio.to_thread(backing.in_use, data):
                raise CsiError("FAILED_PRECONDITION", f"volume {identity} is in use on node {self._config.node_name}")
            await asyncio.to_thread(self._library.volumes.remove, identity)
            return pb.DeleteVolumeResponse()

        return await self._turns.run(identity, work)

    def _here(self, identity: str) -> None:
        """Raise for a volume of another node's: it is not gone, it is elsewhere."""
        _, mark, place = identity.rpartition("@")
        if mark and place != self._config.place:
            raise CsiError("FAILED_PRECONDITION", f"volume {identity} is on node {place}, not {self._config.place}")

    # -- changing ---------------------------------------------------------------------------------------------------

    async def _expand(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")
        if not request.HasField("capacity_range"):
            raise CsiError("INVALID_ARGUMENT", "Capacity range missing in request")
        sizes = request.capacity_range

        async def work() -> Any:
            found = self._volume(identity)
            size = requests.size_wanted(True, sizes.required_bytes, sizes.limit_bytes)
            if size > found.capacity:
                with self._library.promised(size - found.capacity) as enough:
                    if not enough and found.backing == IMAGE:
                        free = self._library.available()
                        more = size - found.capacity
                        raise CsiError("RESOURCE_EXHAUSTED", f"{more} more bytes wanted, {free} are free on this node")
                    await asyncio.to_thread(backing.grow, found, self._library.volumes.data(identity), size)
                    found = dataclasses.replace(found, capacity=size)
                    await asyncio.to_thread(self._library.volumes.change, found)
            return pb.ControllerExpandVolumeResponse(
                capacity_bytes=found.capacity, node_expansion_required=found.backing == IMAGE and not found.block
            )

        return await self._turns.run(identity, work)

    async def _modify(self, request: Any) -> Any:
        identity = requests.need(request.volume_id, "Volume ID")

        async def work() -> Any:
            found = self._volume(identity)
            allocation = requests.allocation_of(request.mutable_parameters) or found.allocation
            if allocation != found.allocation:
                if allocation == THICK and found.backing == IMAGE:
                    await asyncio.to_thread(backing.make_thick, self._library.volumes.data(identity))
                found = dataclasses.replace(found, allocation=allocation)
                await asyncio.to_thread(self._library.volumes.change, found)
            return pb.ControllerModifyVolumeResponse()

        return await self._turns.run(identity, work)

    # -- questions --------------------------------------------------------------------------------------------------

    async def _validate(self, request: Any) -> Any:
        found = self._volume(requests.need(request.volume_id, "Volume ID"))
        requests.need(list(request.volume_capabilities), "Volume capabilities")
        for capability in request.volume_capabilities:
            why = requests.unsupported(capability)
            if not why and (capability.WhichOneof("access_type") == "block") != found.block:
                why = "the volume has another volume mode"
            if why:
                return pb.ValidateVolumeCapabilitiesResponse(message=why)
        confirmed = pb.ValidateVolumeCapabilitiesResponse.Confirmed(
            volume_context=request.volume_context,
            volume_capabilities=request.volume_capabilities,
            parameters=request.parameters,
            mutable_parameters=request.mutable_parameters,
        )
        return pb.ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    async def _list(self, request: Any) -> Any:
        known = {r.id: r for r in self._library.volumes.all() if not r.ephemeral}
        ids, token = requests.page(sorted(known), request.max_entries, request.starting_token)
        entries = [pb.ListVolumesResponse.Entry(volume=self.describe(known[i])) for i in ids]
        return pb.ListVolumesResponse(entries=entries, next_token=token)

    async def _get(self, request: Any) -> Any:
        found = self._volume(requests.need(request.volume_id, "Volume ID"))
        return pb.ControllerGetVolumeResponse(volume=self.describe(found))

    async def _capacity(self, request: Any) -> Any:
        node = self._config.node_name
        elsewhere = request.HasField("accessible_topology") and not requests.here(
            request.accessible_topology.segments, node
        )
        if elsewhere or any(requests.unsupported(c) for c in request.volume_capabilities):
            return pb.GetCapacityResponse(available_capacity=0)
        free = await asyncio.to_thread(self._library.available)
        return pb.GetCapacityResponse(
            available_capacity=free,
            maximum_volume_size=Int64Value(value=free),
            minimum_volume_size=Int64Value(value=requests.LEAST),
        )

    def _volume(self, identity: str) -> VolumeRecord:
        found = self._library.volumes.get(identity)
        if found is None:
            raise CsiError("NOT_FOUND", f"there is no volume {identity} on node {self._config.node_name}")
        return found

    def describe(self, record: VolumeRecord) -> Any:
        """The record as CSI's Volume."""
        made = pb.Volume(
            volume_id=record.id,
            capacity_bytes=record.capacity,
            accessible_topology=[pb.Topology(segments={TOPOLOGY: self._config.node_name})],
        )
        if record.source.kind == "snapshot":
            made.content_source.snapshot.snapshot_id = record.source.id
        elif record.source.kind == "volume":
            made.content_source.volume.volume_id = record.source.id
        return made


def _source(request: Any) -> tuple[str, str]:
    if not request.HasField("volume_content_source"):
        return "", ""
    kind = request.volume_content_source.WhichOneof("type")
    if kind == "snapshot":
        return kind, requests.need(request.volume_content_source.snapshot.snapshot_id, "Snapshot ID")
    if kind == "volume":
        return kind, requests.need(request.volume_content_source.volume.volume_id, "Source volume ID")
    raise CsiError("INVALID_ARGUMENT", "volume content source: neither a snapshot nor a volume")


def _named(request: Any) -> bool:
    """Whether a file system is asked for by name."""
    return any(c.mount.fs_type for c in request.volume_capabilities)


def _words(record: VolumeRecord | SnapshotRecord) -> str:
    return "block volume" if record.block else f"file system volume (backing: {record.backing})"
