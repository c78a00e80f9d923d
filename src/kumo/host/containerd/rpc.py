"""How a gRPC method is called: a table of methods, one coroutine a call, errors as `EngineError`.

Instead of generated service classes, a method is its path and its two message classes; see `Method`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from kumo.host.grpc_status import wire_text

In = TypeVar("In")
Out = TypeVar("Out")

NAMESPACE = "k8s.io"
"""containerd's namespace for what was made through CRI."""

OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # containerd comes back within a fraction of a second after a crash: notice soon.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
    # Instances side by side in one process (tests) must not share a connection by address.
    ("grpc.use_local_subchannel_pool", 1),
]


class EngineError(Exception):
    """containerd refused or could not be reached. `code` is gRPC's name: NOT_FOUND, UNAVAILABLE, ..."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def wire(self) -> str:
        """The error as Go's gRPC prints it, which upstream's messages quote."""
        return wire_text(self.code, self.message)


def engine_error(error: grpc.aio.AioRpcError) -> EngineError:
    """The `EngineError` that a gRPC error stands for."""
    return EngineError(error.code().name, error.details() or "")


class Method(Generic[In, Out]):
    """One method of a service over one channel."""

    def __init__(self, channel: grpc.aio.Channel, path: str, request: type[In], answer: type[Out]) -> None:
        serialize: Any = getattr(request, "SerializeToString")  # noqa: B009 - protobuf classes are untyped here
        parse: Any = getattr(answer, "FromString")  # noqa: B009
        self._unary = channel.unary_unary(path, request_serializer=serialize, response_deserializer=parse)
        self._stream = channel.unary_stream(path, request_serializer=serialize, response_deserializer=parse)
        self._both = channel.stream_stream(path, request_serializer=serialize, response_deserializer=parse)

    async def __call__(self, request: In, timeout: float | None = 120.0, lease: str = "") -> Out:
        """Call and wait for the answer. `timeout` in seconds; `lease` protects what is made from garbage collection."""
        try:
            answer: Out = await self._unary(request, timeout=timeout, metadata=_metadata(lease))
        except grpc.aio.AioRpcError as error:
            raise engine_error(error) from None
        return answer

    async def stream(self, request: In, *, wait_ready: bool = False) -> AsyncIterator[Out]:
        """Call a method that answers with a stream."""
        call = self._stream(request, metadata=_metadata(""), wait_for_ready=wait_ready)
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise engine_error(error) from None
        finally:
            call.cancel()

    def exchange(self, lease: str = "") -> Exchange[In, Out]:
        """Begin a call of streams both ways."""
        return Exchange(self._both(metadata=_metadata(lease)))


class Exchange(Generic[In, Out]):
    """An open call of streams both ways, used in turns."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def ask(self, request: In) -> Out:
        """Send one message and wait for the answer to it. Raises EngineError when the server ends the call instead."""
        try:
            await self._call.write(request)
            answer = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            answer = grpc.aio.EOF
        if answer is grpc.aio.EOF:
            # Only the call's own status tells why; the error of a write does not.
            raise EngineError((await self._call.code()).name, await self._call.details() or "the call has ended")
        found: Out = answer
        return found

    def close(self) -> None:
        """Let go of it."""
        self._call.cancel()


def _metadata(lease: str) -> tuple[tuple[str, str], ...]:
    base = (("containerd-namespace", NAMESPACE),)
    return (*base, ("containerd-lease", lease)) if lease else base


def open_channel(socket: str) -> grpc.aio.Channel:
    """A channel to containerd's unix socket. It connects at the first call and again whenever it has to."""
    return grpc.aio.insecure_channel(f"unix:{socket}", options=OPTIONS)
