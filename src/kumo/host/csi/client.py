"""A caller's end of CSI: one connection to a driver's unix socket, a typed coroutine for every method.

`async with CsiClient(socket) as csi: await csi.node.stage(pb.NodeStageVolumeRequest(...))`. Every call raises CsiError.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.host.csi.stubs import registration_pb2 as registration

In = TypeVar("In")
Out = TypeVar("Out")

TIMEOUT = 120.0
"""Seconds that a call may take unless the caller says otherwise: as upstream's kubelet waits."""

_OPTIONS = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
    # A driver that comes back on the same path is another one: connections are not shared by address.
    ("grpc.use_local_subchannel_pool", 1),
]


class Method(Generic[In, Out]):
    """One method of a driver."""

    def __init__(self, channel: grpc.aio.Channel, path: str, request: type[In], answer: type[Out]) -> None:
        serialize: Any = getattr(request, "SerializeToString")  # noqa: B009 - protobuf classes are untyped here
        parse: Any = getattr(answer, "FromString")  # noqa: B009
        self._call = channel.unary_unary(path, request_serializer=serialize, response_deserializer=parse)

    async def __call__(self, request: In, timeout: float = TIMEOUT) -> Out:
        """Call and wait for the answer, at most `timeout` seconds. Raises CsiError."""
        try:
            answer: Out = await self._call(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise CsiError(error.code().name, error.details() or "") from None
        return answer


class Identity:
    """What a driver is."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        service = "/csi.v1.Identity/"
        self.info = Method(channel, service + "GetPluginInfo", pb.GetPluginInfoRequest, pb.GetPluginInfoResponse)
        self.capabilities = Method(
            channel,
            service + "GetPluginCapabilities",
            pb.GetPluginCapabilitiesRequest,
            pb.GetPluginCapabilitiesResponse,
        )
        self.probe = Method(channel, service + "Probe", pb.ProbeRequest, pb.ProbeResponse)


class Controller:
    """What makes, publishes, grows and copies volumes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def method(name: str, request: type[In], answer: type[Out]) -> Method[In, Out]:
            return Method(channel, f"/csi.v1.Controller/{name}", request, answer)

        self.capabilities = method(
            "ControllerGetCapabilities", pb.ControllerGetCapabilitiesRequest, pb.ControllerGetCapabilitiesResponse
        )
        self.create_volume = method("CreateVolume", pb.CreateVolumeRequest, pb.CreateVolumeResponse)
        self.delete_volume = method("DeleteVolume", pb.DeleteVolumeRequest, pb.DeleteVolumeResponse)
        self.publish = method(
            "ControllerPublishVolume", pb.ControllerPublishVolumeRequest, pb.ControllerPublishVolumeResponse
        )
        self.unpublish = method(
            "ControllerUnpublishVolume", pb.ControllerUnpublishVolumeRequest, pb.ControllerUnpublishVolumeResponse
        )
        self.validate = method(
            "ValidateVolumeCapabilities", pb.ValidateVolumeCapabilitiesRequest, pb.ValidateVolumeCapabilitiesResponse
        )
        self.list_volumes = method("ListVolumes", pb.ListVolumesRequest, pb.ListVolumesResponse)
        self.get_volume = method("ControllerGetVolume", pb.ControllerGetVolumeRequest, pb.ControllerGetVolumeResponse)
        self.capacity = method("GetCapacity", pb.GetCapacityRequest, pb.GetCapacityResponse)
        self.create_snapshot = method("CreateSnapshot", pb.CreateSnapshotRequest, pb.CreateSnapshotResponse)
        self.delete_snapshot = method("DeleteSnapshot", pb.DeleteSnapshotRequest, pb.DeleteSnapshotResponse)
        self.list_snapshots = method("ListSnapshots", pb.ListSnapshotsRequest, pb.ListSnapshotsResponse)
        self.get_snapshot = method("GetSnapshot", pb.GetSnapshotRequest, pb.GetSnapshotResponse)
        self.expand = method(
            "ControllerExpandVolume", pb.ControllerExpandVolumeRequest, pb.ControllerExpandVolumeResponse
        )
        self.modify = method(
            "ControllerModifyVolume", pb.ControllerModifyVolumeRequest, pb.ControllerModifyVolumeResponse
        )


class Node:
    """What makes volumes usable on the driver's machine."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def method(name: str, request: type[In], answer: type[Out]) -> Method[In, Out]:
            return Method(channel, f"/csi.v1.Node/{name}", request, answer)

        self.info = method("NodeGetInfo", pb.NodeGetInfoRequest, pb.NodeGetInfoResponse)
        self.capabilities = method("NodeGetCapabilities", pb.NodeGetCapabilitiesRequest, pb.NodeGetCapabilitiesResponse)
        self.stage = method("NodeStageVolume", pb.NodeStageVolumeRequest, pb.NodeStageVolumeResponse)
        self.unstage = method("NodeUnstageVolume", pb.NodeUnstageVolumeRequest, pb.NodeUnstageVolumeResponse)
        self.publish = method("NodePublishVolume", pb.NodePublishVolumeRequest, pb.NodePublishVolumeResponse)
        self.unpublish = method("NodeUnpublishVolume", pb.NodeUnpublishVolumeRequest, pb.NodeUnpublishVolumeResponse)
        self.stats = method("NodeGetVolumeStats", pb.NodeGetVolumeStatsRequest, pb.NodeGetVolumeStatsResponse)
        self.expand = method("NodeExpandVolume", pb.NodeExpandVolumeRequest, pb.NodeExpandVolumeResponse)


class _Connection:
    def __init__(self, socket: str) -> None:
        self.socket = socket
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()


class CsiClient(_Connection):
    """A connection to the driver that serves `socket`; it is made at the first call, and again whenever it has to."""

    def __init__(self, socket: str) -> None:
        super().__init__(socket)
        self.identity = Identity(self._channel)
        self.controller = Controller(self._channel)
        self.node = Node(self._channel)

    async def __aenter__(self) -> CsiClient:
        return self


class RegistrationClient(_Connection):
    """A connection to a plugin that wants to be registered: the kubelet's end."""

    def __init__(self, socket: str) -> None:
        super().__init__(socket)
        service = "/pluginregistration.Registration/"
        self.info = Method(self._channel, service + "GetInfo", registration.InfoRequest, registration.PluginInfo)
        self.notify = Method(
            self._channel,
            service + "NotifyRegistrationStatus",
            registration.RegistrationStatus,
            registration.RegistrationStatusResponse,
        )

    async def __aenter__(self) -> RegistrationClient:
        return self


def capability_names(message: Any) -> frozenset[str]:
    """The names in an answer of any of the three questions for capabilities: CREATE_DELETE_VOLUME, ...

    How a plugin can expand volumes is written `volume_expansion.ONLINE` or `.OFFLINE`; what is unknown is left out.
    """
    found = set()
    for capability in message.capabilities:
        kind = capability.WhichOneof("type")
        if kind is None:
            continue
        inner = getattr(capability, kind)
        value = inner.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number.get(inner.type)
        if value is not None:
            found.add(f"{kind}.{value.name}" if kind == "volume_expansion" else str(value.name))
    return frozenset(found)
