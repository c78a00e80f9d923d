"""How device plugins make themselves known: they call `kubelet.sock`, or put a socket into `plugins_registry`.

Upstream: `pkg/kubelet/cm/devicemanager/plugin/v1beta1`; the refusals' texts are theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from kumo.api import names
from kumo.kubernetes.kubelet.csi.registration import Refused
from kumo.kubernetes.kubelet.devices.ledger import DeviceError
from kumo.kubernetes.kubelet.devices.stubs import deviceplugin_pb2 as pb

VERSION = "v1beta1"
SOCKET = "kubelet.sock"
_MAX_MESSAGE = 4 << 20

Connect = Callable[[str, str], Awaitable[None]]
"""Takes in the plugin of a resource that serves a socket. Raises DeviceError."""


def is_extended(name: str) -> bool:
    """Whether that is the name of an extended resource: `vendor.example/thing`."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith("requests."):
        return False
    return not names.check_qualified_name(f"requests.{name}")


def check_request(version: str, resource: str) -> None:
    """Raise DeviceError if a plugin of that version and resource can't be taken in."""
    if version != VERSION:
        raise DeviceError(
            f'requested API version "{version}" is not supported by kubelet. Supported version is ["{VERSION}"]'
        )
    if not is_extended(resource):
        raise DeviceError(f'the ResourceName "{resource}" is invalid')


@contextlib.asynccontextmanager
async def serving(folder: Path, connect: Connect) -> AsyncIterator[None]:
    """Serve `kubelet.sock` in the folder while the block runs. Sockets that are there go. Raises OSError.

    Plugins watch the folder: a new `kubelet.sock` tells them that this is another kubelet, and they register again.
    """
    await asyncio.to_thread(clean, folder)

    async def register(request: Any, context: Any) -> Any:
        if request is None:  # gRPC could not read it
            await context.abort(grpc.StatusCode.INTERNAL, "grpc: error unmarshalling request")
        try:
            check_request(request.version, request.resource_name)
            await connect(request.resource_name, f"{folder}/{request.endpoint}")
        except DeviceError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return pb.Empty()

    handler = grpc.unary_unary_rpc_method_handler(
        register,
        request_deserializer=pb.RegisterRequest.FromString,
        response_serializer=pb.Empty.SerializeToString,
    )
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("v1beta1.Registration", {"Register": handler}),)
    )
    try:
        server.add_insecure_port(f"unix:{folder / SOCKET}")
        await server.start()
    except RuntimeError as error:
        raise OSError(f"can't serve {folder / SOCKET}: {error}") from error
    try:
        yield
    finally:
        await server.stop(grace=0)


def clean(folder: Path) -> None:
    """Make the folder, and remove the sockets in it: their plugins are to register anew. Raises OSError. Blocking."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()


class RegistryHandler:
    """Takes in the plugins of type DevicePlugin that the kubelet finds in `plugins_registry`."""

    def __init__(self, connect: Connect, disconnect: Callable[[str, str], Awaitable[None]]) -> None:
        self._connect = connect
        self._disconnect = disconnect

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        """Take it in. Raises Refused."""
        if VERSION not in versions:
            listed = " ".join(versions)
            raise Refused(f"manager version, {VERSION}, is not among plugin supported versions [{listed}]")
        try:
            check_request(VERSION, name)
        except DeviceError as error:
            raise Refused(f"invalid name of device plugin socket: {error}") from error
        try:
            await self._connect(name, endpoint)
        except DeviceError as error:
            raise Refused(str(error)) from error

    async def unregister(self, name: str, endpoint: str) -> None:
        """It has gone."""
        await self._disconnect(name, endpoint)
