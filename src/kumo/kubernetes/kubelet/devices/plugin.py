"""One device plugin as the kubelet calls it: service `v1beta1.DevicePlugin` on the plugin's unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio

from kumo.host.grpc_status import wire_text
from kumo.kubernetes.kubelet.devices.ledger import Device, DeviceError
from kumo.kubernetes.kubelet.devices.stubs import deviceplugin_pb2 as pb

_CONNECT_SECONDS = 10.0
_PRE_START_SECONDS = 30.0
_OPTIONS = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.enable_http_proxy", 0),
    # A plugin that comes back on the same path is another one: connections are not shared by address.
    ("grpc.use_local_subchannel_pool", 1),
]
HEALTHY = "Healthy"
_UNREADABLE = wire_text("INTERNAL", "grpc: failed to unmarshal the received message")
"""gRPC gives None for a message that can't be read."""


class Plugin:
    """The plugin of one resource. Every call raises DeviceError."""

    def __init__(self, resource: str, socket: str) -> None:
        self.resource = resource
        self.socket = socket
        self.stopped = False
        """Its stream of devices has ended; calls are refused."""
        self.options = pb.DevicePluginOptions()
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)

    async def connect(self) -> None:
        """Reach it, and ask what it wants to be asked."""
        try:
            self.options = await self._call(
                "GetDevicePluginOptions", pb.Empty(), pb.DevicePluginOptions, _CONNECT_SECONDS, wait=True
            )
        except DeviceError as error:
            raise DeviceError(f"failed to get device plugin options: {error}") from error

    async def lists(self) -> AsyncIterator[dict[str, Device]]:
        """All its devices by id, each time they change, until the plugin ends."""
        call: Any = self._channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=pb.Empty.SerializeToString,
            response_deserializer=pb.ListAndWatchResponse.FromString,
        )
        try:
            async for answer in call(pb.Empty()):
                if answer is None:
                    raise DeviceError(_UNREADABLE)
                yield {d.ID: Device(d.health == HEALTHY, _nodes(d)) for d in answer.devices}
        except grpc.aio.AioRpcError as error:
            raise DeviceError(wire_text(error.code().name, error.details() or "")) from None

    async def allocate(self, ids: Sequence[str]) -> Any:
        """What a container that gets these devices needs: a `ContainerAllocateResponse`."""
        request = pb.AllocateRequest(container_requests=[pb.ContainerAllocateRequest(devices_ids=ids)])
        answer = await self._call("Allocate", request, pb.AllocateResponse)
        if not answer.container_responses:
            raise DeviceError("no containers return in allocation response &AllocateResponse{}")
        return answer.container_responses[0]

    async def prefer(self, available: Iterable[str], included: Iterable[str], size: int) -> list[str]:
        """Which of the devices it would give, if it has a say; else none."""
        if not self.options.get_preferred_allocation_available:
            return []
        wanted = pb.ContainerPreferredAllocationRequest(
            available_deviceIDs=available, must_include_deviceIDs=included, allocation_size=size
        )
        request = pb.PreferredAllocationRequest(container_requests=[wanted])
        try:
            answer = await self._call("GetPreferredAllocation", request, pb.PreferredAllocationResponse)
        except DeviceError as error:
            raise DeviceError(f"device plugin GetPreferredAllocation rpc failed with err: {error}") from error
        return list(answer.container_responses[0].deviceIDs) if answer.container_responses else []

    async def pre_start(self, ids: Iterable[str]) -> None:
        """Let it prepare the devices, right before the container starts."""
        request = pb.PreStartContainerRequest(devices_ids=ids)
        try:
            await self._call("PreStartContainer", request, pb.PreStartContainerResponse, _PRE_START_SECONDS)
        except DeviceError as error:
            raise DeviceError(f"device plugin PreStartContainer rpc failed with err: {error}") from error

    async def close(self) -> None:
        """End the connection."""
        self.stopped = True
        await self._channel.close()

    async def _call(
        self, method: str, request: Any, answer: type[Any], timeout: float | None = None, *, wait: bool = False
    ) -> Any:
        if self.stopped:
            raise DeviceError(f"endpoint {self.resource} has been stopped")
        call: Any = self._channel.unary_unary(
            f"/v1beta1.DevicePlugin/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            found = await call(request, timeout=timeout, wait_for_ready=wait)
        except grpc.aio.AioRpcError as error:
            raise DeviceError(wire_text(error.code().name, error.details() or "")) from None
        if found is None:
            raise DeviceError(_UNREADABLE)
        return found


def _nodes(device: Any) -> tuple[int, ...]:
    return tuple(n.ID for n in device.topology.nodes)
