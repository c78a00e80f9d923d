"""A driver of claims as the kubelet calls it: service `DRAPlugin` on the driver's unix socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from kumo.host.grpc_status import wire_text
from kumo.kubernetes.kubelet.claims.records import ClaimRecord, PreparedDevice
from kumo.kubernetes.kubelet.claims.stubs import dra_pb2 as pb

SERVICES = {
    "v1.DRAPlugin": "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin",
    "v1beta1.DRAPlugin": "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin",
}
"""By what a driver says that it supports, the best first; both have the same messages."""
_TIMEOUT = 45.0
_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    # A driver that comes back on the same path is another one: connections are not shared by address.
    ("grpc.use_local_subchannel_pool", 1),
]


class ClaimError(OSError):
    """Claims can't be prepared (or given back) now."""


class ClaimDriver:
    """One driver. Every call raises ClaimError."""

    def __init__(self, name: str, endpoint: str, service: str) -> None:
        self.name = name
        self.endpoint = endpoint
        self._service = service
        self._channel = grpc.aio.insecure_channel(f"unix:{endpoint}", options=_OPTIONS)

    async def prepare(self, records: Sequence[ClaimRecord]) -> dict[str, list[PreparedDevice]]:
        """The devices of each claim, by its uid."""
        what = "NodePrepareResources"
        request = pb.NodePrepareResourcesRequest(claims=[_claim(r) for r in records])
        answer = await self._call(what, request, pb.NodePrepareResourcesResponse)
        _check(what, records, answer.claims)
        return {uid: [_device(d) for d in result.devices] for uid, result in answer.claims.items()}

    async def unprepare(self, records: Sequence[ClaimRecord]) -> None:
        """Nobody here uses the claims any more."""
        what = "NodeUnprepareResources"
        request = pb.NodeUnprepareResourcesRequest(claims=[_claim(r) for r in records])
        answer = await self._call(what, request, pb.NodeUnprepareResourcesResponse)
        _check(what, records, answer.claims)

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    async def _call(self, method: str, request: Any, answer: Any) -> Any:
        call: Any = self._channel.unary_unary(
            f"/{self._service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return await call(request, timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise ClaimError(f"{method}: {wire_text(error.code().name, error.details() or '')}") from None


def _claim(record: ClaimRecord) -> Any:
    return pb.Claim(namespace=record.namespace, uid=record.uid, name=record.name)


def _device(device: Any) -> PreparedDevice:
    return PreparedDevice(
        device.pool_name, device.device_name, tuple(device.request_names), tuple(device.cdi_device_ids), device.share_id
    )


def _check(method: str, records: Sequence[ClaimRecord], results: Any) -> None:
    names = {r.uid: r.name for r in records}
    for uid, result in results.items():
        if uid not in names:
            raise ClaimError(f"{method} returned result for unknown claim UID {uid}")
        if result.error:
            raise ClaimError(f"{method} failed for ResourceClaim {names[uid]}: {result.error}")
    if len(results) < len(names):
        raise ClaimError(f"{method} skipped {len(names) - len(results)} ResourceClaims")
