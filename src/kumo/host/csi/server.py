"""A driver's end of CSI, and a plugin's end of registration: tables of coroutines served on a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog

from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.host.csi.stubs import registration_pb2 as registration

_log = structlog.get_logger("kumo.csi")
_MAX_MESSAGE = 4 << 20

Handler = Callable[[Any], Awaitable[Any]]
"""Answers a request message with a response message, or raises CsiError."""

IDENTITY, CONTROLLER, NODE = "csi.v1.Identity", "csi.v1.Controller", "csi.v1.Node"
REGISTRATION = "pluginregistration.Registration"


@contextlib.asynccontextmanager
async def serving(socket: Path, services: Mapping[str, Mapping[str, Handler]]) -> AsyncIterator[None]:
    """Serve while the block runs. `services`: service name -> method name -> handler; other methods are UNIMPLEMENTED.

    A socket that an earlier run has left is replaced; the folder is made, for root alone. Raises OSError.
    """

    def prepare() -> None:
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        socket.unlink(missing_ok=True)

    await asyncio.to_thread(prepare)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", _MAX_MESSAGE), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(tuple(_table(name, methods) for name, methods in services.items()))
    try:
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
    except RuntimeError as error:
        raise OSError(f"can't serve {socket}: {error}") from error
    try:
        yield
    finally:
        await server.stop(grace=1.0)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(socket.unlink, missing_ok=True)


def _table(service: str, methods: Mapping[str, Handler]) -> grpc.GenericRpcHandler:
    found = {}
    for name, handler in methods.items():
        request, answer = _messages(service, name)
        found[name] = grpc.unary_unary_rpc_method_handler(
            _guarded(f"{service}/{name}", handler),
            request_deserializer=request.FromString,
            response_serializer=answer.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(service, found)


def _messages(service: str, method: str) -> tuple[Any, Any]:
    if service == REGISTRATION:
        if method == "GetInfo":
            return registration.InfoRequest, registration.PluginInfo
        return registration.RegistrationStatus, registration.RegistrationStatusResponse
    return getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response")


def _guarded(path: str, handler: Handler) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle(request: Any, context: Any) -> Any:
        try:
            return await handler(request)
        except CsiError as error:
            await context.abort(getattr(grpc.StatusCode, error.code), error.message)
        except Exception as error:
            _log.exception("a call of the driver failed", method=path)
            await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")

    return handle
