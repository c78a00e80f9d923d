"""kubectl's port-forward: SPDY/3.1 inside a WebSocket on one side, one WebSocket a connection to the node on the other.

Each forwarded TCP connection is a pair of SPDY streams with the same `requestid`: `error` (the client says nothing on
it) and `data`. The error stream's bytes are what kubectl prints; both streams end when the connection does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import structlog

from kumo.api.errors import StatusError
from kumo.kubernetes.apiserver.kubelet_proxy import spdy
from kumo.machinery.http import WebSocket

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
CHANNEL_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_PIECE = 32 * 1024
_QUEUED = 64

Dial = Callable[[int], AbstractAsyncContextManager[WebSocket]]
"""Opens the node's WebSocket for one port (`/portForward/...?port=N`)."""

_log = structlog.get_logger("kumo.portforward")


@dataclass(slots=True)
class _Pair:
    """The two streams of a connection, and the bytes on their way to the node (None: the client has ended)."""

    port: int
    data: int = 0
    error: int = 0
    inbox: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_QUEUED))
    task: asyncio.Task[None] | None = None


class PortForwardSession:
    """Serves one tunnel until the client closes it."""

    def __init__(self, socket: WebSocket, dial: Dial) -> None:
        self._socket = socket
        self._dial = dial
        self._encoder = spdy.Encoder()
        self._decoder = spdy.Decoder()
        self._pairs: dict[str, _Pair] = {}
        self._streams: dict[int, _Pair] = {}
        self._last = 0

    async def run(self) -> None:
        """Read frames and forward them; end every connection when the tunnel ends."""
        try:
            while True:
                message = await self._socket.receive()
                if message is None:
                    return
                raw = message.encode() if isinstance(message, str) else message
                for frame in self._decoder.feed(raw):
                    if not await self._frame(frame):
                        return
        except spdy.SpdyError as error:
            _log.debug("tunnel broken", error=str(error))
            await self._socket.close(1002, str(error))
        finally:
            tasks = [p.task for p in self._pairs.values() if p.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _frame(self, frame: spdy.Frame) -> bool:
        if frame.kind == spdy.DATA:
            pair = self._streams.get(frame.stream)
            if pair is not None and frame.stream == pair.data:
                if frame.data:
                    await pair.inbox.put(frame.data)
                if frame.fin:
                    await pair.inbox.put(None)
        elif frame.kind == spdy.SYN_STREAM:
            await self._open(frame)
        elif frame.kind == spdy.PING:
            if frame.stream % 2 == 1:
                await self._socket.send(spdy.ping(frame.stream))
        elif frame.kind == spdy.RST_STREAM:
            pair = self._streams.get(frame.stream)
            if pair is not None and pair.task is not None:
                pair.task.cancel()
        elif frame.kind == spdy.GOAWAY:
            return False
        return True

    async def _open(self, frame: spdy.Frame) -> None:
        self._last = max(self._last, frame.stream)
        headers = frame.headers
        kind, port = headers.get("streamtype", ""), headers.get("port", "")
        if kind not in ("data", "error") or not port.isdigit() or not 0 < int(port) < 65536:
            await self._socket.send(spdy.reset(frame.stream, spdy.PROTOCOL_ERROR))
            return
        # Clients before request ids open the error stream first and the data stream right after it.
        number = frame.stream if kind == "error" else frame.stream - 2
        pair = self._pairs.setdefault(headers.get("requestid") or f"#{number}", _Pair(int(port)))
        setattr(pair, kind, frame.stream)
        self._streams[frame.stream] = pair
        await self._socket.send(self._encoder.syn_reply(frame.stream))
        if kind == "data" and frame.fin:
            await pair.inbox.put(None)
        if pair.data and pair.error and pair.task is None:
            pair.task = asyncio.create_task(self._forward(pair), name=f"port-forward {pair.port}")

    async def _forward(self, pair: _Pair) -> None:
        """Carry one connection to its end, then end both its streams."""
        try:
            async with self._dial(pair.port) as node:
                await self._carry(pair, node)
        except (StatusError, ConnectionError, OSError) as error:
            text = error.message if isinstance(error, StatusError) else str(error)
            await self._say(pair.error, text.encode())
        except ExceptionGroup as group:
            await self._say(pair.error, str(group.exceptions[0]).encode())
        finally:
            self._streams.pop(pair.data, None)
            self._streams.pop(pair.error, None)
            self._pairs = {k: p for k, p in self._pairs.items() if p is not pair}
            try:
                await self._socket.send(spdy.data_frame(pair.error, b"", fin=True))
                await self._socket.send(spdy.data_frame(pair.data, b"", fin=True))
            except ConnectionError:
                pass

    async def _say(self, stream: int, text: bytes) -> None:
        await self._socket.send(spdy.data_frame(stream, text))

    async def _carry(self, pair: _Pair, node: WebSocket) -> None:
        upstream = asyncio.create_task(self._to_node(pair, node))
        try:
            await self._to_client(pair, node)
        finally:
            upstream.cancel()
            await asyncio.gather(upstream, return_exceptions=True)

    async def _to_node(self, pair: _Pair, node: WebSocket) -> None:
        while (data := await pair.inbox.get()) is not None:
            await node.send(b"\0" + data)
        if node.protocol == CHANNEL_PROTOCOLS[0]:
            await node.send(b"\xff\0")

    async def _to_client(self, pair: _Pair, node: WebSocket) -> None:
        named = set[int]()
        while (message := await node.receive()) is not None:
            raw = message.encode() if isinstance(message, str) else message
            if not raw:
                continue
            channel, data = raw[0], raw[1:]
            if channel == 255:
                if data == b"\0":
                    # The pod has ended its direction; the client may go on sending.
                    await self._socket.send(spdy.data_frame(pair.data, b"", fin=True))
                continue
            if channel not in named:
                named.add(channel)
                data = data[2:]
            if channel == 1 and data:
                await self._say(pair.error, data)
            elif channel == 0:
                for start in range(0, len(data), _PIECE):
                    await self._socket.send(spdy.data_frame(pair.data, data[start : start + _PIECE]))
