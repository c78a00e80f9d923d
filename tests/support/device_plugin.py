"""A device plugin for tests: registers with each kubelet that comes; its devices are what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from kumo.host.csi import server as plugin_server
from kumo.host.csi.stubs import registration_pb2 as registration
from kumo.host.inotify import Inotify
from kumo.kubernetes.kubelet.devices.stubs import deviceplugin_pb2 as pb


class DevicePlugin:
    """Serves on a socket beside the kubelet's; each device is /dev/null under the name /dev/<its id>."""

    def __init__(self, resource: str, folder: Path, shared: Path, *ids: str, **options: bool) -> None:
        self.resource = resource
        self.folder = folder
        self.shared = shared
        self.socket = folder / f"{resource.replace('/', '_')}.sock"
        self.health = dict.fromkeys(ids, True)
        self.options = pb.DevicePluginOptions(**options)
        self.version = "v1beta1"
        self.calls: list[tuple[str, list[str]]] = []
        self.prefers: list[str] = []
        self.refusal = ""
        self.places: dict[str, list[int]] = {}
        """NUMA nodes of devices that say where they are."""
        self.cdi: list[str] = []
        self.registrations = 0
        self._changed = asyncio.Condition()

    def of(self, method: str) -> list[list[str]]:
        """The device ids of all requests of a method so far."""
        return [ids for m, ids in self.calls if m == method]

    async def set(self, **health: bool) -> None:
        """The devices are these from now on."""
        async with self._changed:
            self.health = health
            self._changed.notify_all()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve without registering while the block runs."""
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        empty, text = pb.Empty.FromString, _text
        table = {
            "GetDevicePluginOptions": unary(self._options, empty, text),
            "ListAndWatch": stream(self._list, empty, text),
            "GetPreferredAllocation": unary(self._prefer, pb.PreferredAllocationRequest.FromString, text),
            "Allocate": unary(self._allocate, pb.AllocateRequest.FromString, text),
            "PreStartContainer": unary(self._pre_start, pb.PreStartContainerRequest.FromString, text),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", table),))
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(grace=0)
            self.socket.unlink(missing_ok=True)

    async def register(self) -> None:
        """Tell the kubelet. Raises grpc.aio.AioRpcError."""
        async with grpc.aio.insecure_channel(
            f"unix:{self.folder / 'kubelet.sock'}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            call: Any = channel.unary_unary(
                "/v1beta1.Registration/Register", request_serializer=_text, response_deserializer=pb.Empty.FromString
            )
            request = pb.RegisterRequest(
                version=self.version, endpoint=self.socket.name, resource_name=self.resource, options=self.options
            )
            await call(request, timeout=60, wait_for_ready=True)
        self.registrations += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve and register, anew whenever there is another `kubelet.sock`, while the block runs."""
        task = asyncio.create_task(self._keep_on())
        try:
            await until(lambda: self.registrations or task.done())
            if task.done():
                task.result()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_on(self) -> None:
        kubelet = self.folder / "kubelet.sock"
        with Inotify() as notes:
            await until(self.folder.is_dir)
            notes.watch(self.folder, removals=True)
            while True:
                if not kubelet.is_socket():
                    await notes.wait(5)
                    continue
                inode = _inode(kubelet)
                async with self.serving():
                    await self.register()
                    while _inode(kubelet) in (inode, None):
                        await notes.wait(5)

    @contextlib.asynccontextmanager
    async def in_registry(self, registry: Path) -> AsyncIterator[None]:
        """Serve, and be found in `plugins_registry`, while the block runs."""

        async def who(_: Any) -> Any:
            return registration.PluginInfo(
                type="DevicePlugin", name=self.resource, endpoint=str(self.socket), supported_versions=[self.version]
            )

        async def told(request: Any) -> Any:
            self.calls.append(("told", [request.error]))
            return registration.RegistrationStatusResponse()

        methods = {"GetInfo": who, "NotifyRegistrationStatus": told}
        async with (
            self.serving(),
            plugin_server.serving(registry / f"{self.socket.stem}-reg.sock", {plugin_server.REGISTRATION: methods}),
        ):
            yield

    async def _options(self, _: Any, __: Any) -> Any:
        return self.options

    async def _list(self, _: Any, __: Any) -> AsyncIterator[Any]:
        while True:
            seen = self.health
            devices = [
                pb.Device(ID=i, health="Healthy" if ok else "Unhealthy", topology=self._place(i))
                for i, ok in seen.items()
            ]
            yield pb.ListAndWatchResponse(devices=devices)
            async with self._changed:
                await self._changed.wait_for(lambda seen=seen: self.health is not seen)

    def _place(self, device: str) -> Any:
        nodes = self.places.get(device)
        return None if nodes is None else pb.TopologyInfo(nodes=[pb.NUMANode(ID=n) for n in nodes])

    async def _prefer(self, request: Any, _: Any) -> Any:
        asked = request.container_requests[0]
        self.calls.append(("GetPreferredAllocation", list(asked.available_deviceIDs)))
        answer = pb.ContainerPreferredAllocationResponse(deviceIDs=self.prefers)
        return pb.PreferredAllocationResponse(container_responses=[answer])

    async def _allocate(self, request: Any, context: Any) -> Any:
        ids = list(request.container_requests[0].devices_ids)
        self.calls.append(("Allocate", ids))
        if self.refusal:
            await context.abort(grpc.StatusCode.INTERNAL, self.refusal)
        answer = pb.ContainerAllocateResponse(
            envs={"GIVEN": ",".join(ids)},
            mounts=[pb.Mount(container_path="/opt/driver", host_path=str(self.shared), read_only=True)],
            devices=[pb.DeviceSpec(container_path=f"/dev/{i}", host_path="/dev/null", permissions="rw") for i in ids],
            annotations={"example.com/given": ",".join(ids)},
            cdi_devices=[pb.CDIDevice(name=name) for name in self.cdi],
        )
        return pb.AllocateResponse(container_responses=[answer])

    async def _pre_start(self, request: Any, _: Any) -> Any:
        self.calls.append(("PreStartContainer", list(request.devices_ids)))
        return pb.PreStartContainerResponse()


async def until(check: Callable[[], Any]) -> None:
    """Return once `check` holds."""
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.02)


def _text(message: Any) -> bytes:
    found: bytes = message.SerializeToString()
    return found


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ctime_ns
    except FileNotFoundError:
        return None
