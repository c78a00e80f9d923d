"""A CSI driver that keeps volumes in memory, behind a real gRPC server: the other end for tests of the controllers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kumo.host.csi import server
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb

NAME = "memory.csi.example.com"
ZONE = "topology.memory.csi.example.com/zone"
ABILITIES = (
    "CREATE_DELETE_VOLUME",
    "PUBLISH_UNPUBLISH_VOLUME",
    "CREATE_DELETE_SNAPSHOT",
    "LIST_SNAPSHOTS",
    "CLONE_VOLUME",
    "EXPAND_VOLUME",
    "GET_CAPACITY",
    "MODIFY_VOLUME",
)


class MemoryDriver:
    """A driver of one zone. `refusals` maps methods to what they answer (or raise) next; `calls` counts them."""

    def __init__(self, *, zone: str = "a", abilities: tuple[str, ...] = ABILITIES, capacity: int = 1 << 40) -> None:
        self.zone, self.abilities, self.capacity = zone, abilities, capacity
        self.volumes: dict[str, pb.Volume] = {}
        self.requests: dict[str, pb.CreateVolumeRequest] = {}
        self.snapshots: dict[str, pb.Snapshot] = {}
        self.published: dict[str, str] = {}
        self.attributes: dict[str, Mapping[str, str]] = {}
        self.calls: Counter[str] = Counter()
        self.refusals: dict[str, list[CsiError]] = {}
        self.made = 0

    def refuse(self, method: str, code: str, message: str, times: int = 1) -> None:
        """Let the next calls of the method fail."""
        self.refusals[method] = [CsiError(code, message)] * times

    @asynccontextmanager
    async def serving(self, socket: Path) -> AsyncIterator[None]:
        """Serve while the block runs."""
        methods = {
            server.IDENTITY: ("GetPluginInfo", "GetPluginCapabilities", "Probe"),
            server.CONTROLLER: (
                "ControllerGetCapabilities",
                "CreateVolume",
                "DeleteVolume",
                "ControllerPublishVolume",
                "ControllerUnpublishVolume",
                "GetCapacity",
                "CreateSnapshot",
                "DeleteSnapshot",
                "ListSnapshots",
                "ControllerExpandVolume",
                "ControllerModifyVolume",
            ),
            server.NODE: ("NodeGetCapabilities", "NodeGetInfo"),
        }
        table = {service: {name: self._counted(name) for name in names} for service, names in methods.items()}
        async with server.serving(socket, table):
            yield

    def _counted(self, name: str) -> server.Handler:
        work = getattr(self, f"_{name}")

        async def handle(request: Any) -> Any:
            self.calls[name] += 1
            waiting = self.refusals.get(name)
            if waiting:
                raise waiting.pop()
            return work(request)

        return handle

    # -- identity and node --------------------------------------------------------------------------------------------

    def _GetPluginInfo(self, _: Any) -> Any:
        return pb.GetPluginInfoResponse(name=NAME, vendor_version="1")

    def _GetPluginCapabilities(self, _: Any) -> Any:
        answer = pb.GetPluginCapabilitiesResponse()
        for name in ("CONTROLLER_SERVICE", "VOLUME_ACCESSIBILITY_CONSTRAINTS"):
            answer.capabilities.add().service.type = pb.PluginCapability.Service.Type.Value(name)
        return answer

    def _Probe(self, _: Any) -> Any:
        return pb.ProbeResponse()

    def _NodeGetCapabilities(self, _: Any) -> Any:
        return pb.NodeGetCapabilitiesResponse()

    def _NodeGetInfo(self, _: Any) -> Any:
        return pb.NodeGetInfoResponse(node_id="here", accessible_topology=pb.Topology(segments={ZONE: self.zone}))

    def _ControllerGetCapabilities(self, _: Any) -> Any:
        answer = pb.ControllerGetCapabilitiesResponse()
        for name in self.abilities:
            answer.capabilities.add().rpc.type = pb.ControllerServiceCapability.RPC.Type.Value(name)
        return answer

    # -- volumes ------------------------------------------------------------------------------------------------------

    def _CreateVolume(self, request: Any) -> Any:
        found = self.volumes.get(f"vol-{request.name}")
        if found is None:
            self.made += 1
            size = request.capacity_range.required_bytes
            found = pb.Volume(volume_id=f"vol-{request.name}", capacity_bytes=size, volume_context={"made": "yes"})
            found.accessible_topology.append(pb.Topology(segments={ZONE: self.zone}))
            if request.HasField("volume_content_source"):
                found.content_source.CopyFrom(request.volume_content_source)
            self.volumes[found.volume_id] = found
        self.requests[found.volume_id] = request
        return pb.CreateVolumeResponse(volume=found)

    def _DeleteVolume(self, request: Any) -> Any:
        self.volumes.pop(request.volume_id, None)
        return pb.DeleteVolumeResponse()

    def _ControllerPublishVolume(self, request: Any) -> Any:
        held = self.published.setdefault(request.volume_id, request.node_id)
        if held != request.node_id:
            raise CsiError("FAILED_PRECONDITION", f"published to {held}")
        return pb.ControllerPublishVolumeResponse(publish_context={"device": "/dev/x"})

    def _ControllerUnpublishVolume(self, request: Any) -> Any:
        if self.published.get(request.volume_id) == request.node_id:
            del self.published[request.volume_id]
        return pb.ControllerUnpublishVolumeResponse()

    def _GetCapacity(self, request: Any) -> Any:
        return pb.GetCapacityResponse(available_capacity=self.capacity)

    def _ControllerExpandVolume(self, request: Any) -> Any:
        size = request.capacity_range.required_bytes
        self.volumes[request.volume_id].capacity_bytes = size
        block = request.volume_capability.HasField("block")
        return pb.ControllerExpandVolumeResponse(capacity_bytes=size, node_expansion_required=not block)

    def _ControllerModifyVolume(self, request: Any) -> Any:
        self.attributes[request.volume_id] = dict(request.mutable_parameters)
        return pb.ControllerModifyVolumeResponse()

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def _CreateSnapshot(self, request: Any) -> Any:
        identity = f"snap-{request.name}"
        if identity not in self.snapshots:
            made = pb.Snapshot(snapshot_id=identity, source_volume_id=request.source_volume_id, ready_to_use=True)
            made.size_bytes = self.volumes[request.source_volume_id].capacity_bytes
            made.creation_time.FromSeconds(int(time.time()))
            self.snapshots[identity] = made
        return pb.CreateSnapshotResponse(snapshot=self.snapshots[identity])

    def _DeleteSnapshot(self, request: Any) -> Any:
        self.snapshots.pop(request.snapshot_id, None)
        return pb.DeleteSnapshotResponse()

    def _ListSnapshots(self, request: Any) -> Any:
        answer = pb.ListSnapshotsResponse()
        found = self.snapshots.get(request.snapshot_id)
        if found is not None:
            answer.entries.add().snapshot.CopyFrom(found)
        return answer
