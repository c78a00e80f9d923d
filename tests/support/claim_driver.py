"""A driver of dynamic resource allocation for tests: real gRPC, CDI specs in files, each call is noted."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from kumo.host.csi import server
from kumo.host.csi.stubs import registration_pb2 as registration
from kumo.kubernetes.kubelet.claims.stubs import dra_health_pb2 as health_pb
from kumo.kubernetes.kubelet.claims.stubs import dra_pb2 as pb

HEALTH = "v1alpha1.DRAResourceHealth"
SERVICE = "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin"


class ClaimDriver:
    """Prepares a device `dev-<claim>` for each claim; `error` is what it answers instead."""

    def __init__(self, name: str, root: Path, specs: Path, versions: Sequence[str] = ("v1.DRAPlugin",)) -> None:
        self.name = name
        self.error = ""
        self.calls: list[tuple[str, list[str]]] = []
        self.told: list[tuple[bool, str]] = []
        self.requests = ["r"]
        """The requests that its devices are for."""
        self.health = (health_pb.UNKNOWN, "")
        self._sick = asyncio.Condition()
        self._root = root
        self._spec = specs / f"{name}.json"
        self._versions = versions

    def write_spec(self, *claims: str, **edits: Any) -> None:
        """What containers get with the device of each claim."""
        devices = [{"name": f"dev-{c}", "containerEdits": {"env": [f"CLAIM={c}"], **edits}} for c in claims]
        common = {"env": ["DRIVER=" + self.name]}
        spec = {"cdiVersion": "0.6.0", "kind": f"{self.name}/dev", "devices": devices, "containerEdits": common}
        self._spec.parent.mkdir(parents=True, exist_ok=True)
        self._spec.write_text(json.dumps(spec))

    @contextlib.asynccontextmanager
    async def registered(self, registry: Path) -> AsyncIterator[None]:
        """Serve, and make itself known in the folder, while the block runs."""
        socket = self._root / "dra.sock"
        socket.unlink(missing_ok=True)
        served = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        methods = {
            "NodePrepareResources": _method(self._prepare, pb.NodePrepareResourcesRequest),
            "NodeUnprepareResources": _method(self._unprepare, pb.NodeUnprepareResourcesRequest),
        }
        served.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        watched = grpc.unary_stream_rpc_method_handler(
            self._watch,
            request_deserializer=health_pb.NodeWatchResourcesRequest.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        health = {"NodeWatchResources": watched}
        served.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(HEALTH, health),))
        served.add_insecure_port(f"unix:{socket}")
        await served.start()
        told = {"GetInfo": self._who, "NotifyRegistrationStatus": self._notified}
        try:
            async with server.serving(registry / f"{self.name}-reg.sock", {server.REGISTRATION: told}):
                yield
        finally:
            await served.stop(grace=0)
            self._spec.unlink(missing_ok=True)

    async def set_health(self, health: Any, message: str = "") -> None:
        """All its devices are like this from now on."""
        async with self._sick:
            self.health = (health, message)
            self._sick.notify_all()

    async def _watch(self, _: Any, __: Any) -> AsyncIterator[Any]:
        while True:
            seen = self.health
            device = health_pb.DeviceIdentifier(pool_name="p", device_name="d")
            told = health_pb.DeviceHealth(device=device, health=seen[0], message=seen[1])
            yield health_pb.NodeWatchResourcesResponse(devices=[told])
            async with self._sick:
                await self._sick.wait_for(lambda seen=seen: self.health is not seen)

    async def _who(self, _: Any) -> Any:
        return registration.PluginInfo(
            type="DRAPlugin",
            name=self.name,
            endpoint=str(self._root / "dra.sock"),
            supported_versions=self._versions,
        )

    async def _notified(self, request: Any) -> Any:
        self.told.append((request.plugin_registered, request.error))
        return registration.RegistrationStatusResponse()

    async def _prepare(self, request: Any, _: Any) -> Any:
        self.calls.append(("prepare", [c.name for c in request.claims]))
        answer = pb.NodePrepareResourcesResponse()
        for claim in request.claims:
            result = answer.claims[claim.uid]
            result.error = self.error
            ids = [f"{self.name}/dev=dev-{claim.name}"]
            result.devices.append(
                pb.Device(pool_name="p", device_name="d", request_names=self.requests, cdi_device_ids=ids)
            )
        return answer

    async def _unprepare(self, request: Any, _: Any) -> Any:
        self.calls.append(("unprepare", [c.name for c in request.claims]))
        answer = pb.NodeUnprepareResourcesResponse()
        for claim in request.claims:
            answer.claims[claim.uid].error = self.error
        return answer


def _method(call: Any, request: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=request.FromString, response_serializer=lambda answer: answer.SerializeToString()
    )
