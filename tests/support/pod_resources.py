"""Asks a kubelet's pod resources API, as a monitoring agent does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc.aio

from kumo.kubernetes.kubelet.devices.stubs import podresources_pb2 as pb

_ANSWERS: dict[str, tuple[Any, Any]] = {
    "List": (pb.ListPodResourcesRequest, pb.ListPodResourcesResponse),
    "Get": (pb.GetPodResourcesRequest, pb.GetPodResourcesResponse),
    "GetAllocatableResources": (pb.AllocatableResourcesRequest, pb.AllocatableResourcesResponse),
}


async def ask(directory: Path, method: str, version: str = "v1", **fields: Any) -> Any:
    """The answer of the kubelet with that directory. Raises grpc.aio.AioRpcError."""
    request, answer = _ANSWERS[method]
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{directory}/pod-resources/kubelet.sock", options=options) as channel:
        call: Any = channel.unary_unary(
            f"/{version}.PodResourcesLister/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        return await call(request(**fields), timeout=30, wait_for_ready=True)
