"""WebSockets in three forms, one behaviour: accepted by the listener, opened by a client, or a pair in this process."""

from __future__ import annotations

import asyncio
from collections import deque

import aiohttp
from aiohttp import web

from kumo.machinery.http import WebSocket

ABNORMAL = 1006
"""The close code that is never sent (RFC 6455, 7.1.5): closing with it cuts the connection, and the peer counts that as
an abnormal end."""
_DATA = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
_WINDOW = 1 << 20


class _AiohttpWebSocket:
    """What both ends over aiohttp have in common."""

    def __init__(
        self,
        socket: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
        protocol: str,
    ) -> None:
        self._socket = socket
        self.protocol = protocol

    async def receive(self) -> bytes | str | None:
        """The next message, or None when the other side has closed (cleanly or not)."""
        if self._socket.closed:
            return None
        message = await self._socket.receive()
        if message.type in _DATA:
            data: bytes | str = message.data
            return data
        return None

    async def send(self, data: bytes | str) -> None:
        """Send one message; waits while the peer reads slowly. Raises ConnectionError once closed."""
        if self._socket.closed:
            raise ConnectionResetError("the WebSocket is closed")
        if isinstance(data, str):
            await self._socket.send_str(data)
        else:
            await self._socket.send_bytes(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with that code; a second call does nothing."""
        await self._socket.close(code=code, message=reason.encode()[:123])

    @property
    def close_code(self) -> int | None:
        """The code that the connection was closed with, once it is."""
        return self._socket.close_code


class ServerWebSocket(_AiohttpWebSocket):
    """A WebSocket that the listener accepted; `transport` is the connection below it."""

    def __init__(
        self, socket: web.WebSocketResponse, protocol: str, transport: asyncio.BaseTransport | None = None
    ) -> None:
        super().__init__(socket, protocol)
        self._closing: asyncio.Task[None] | None = None
        self._transport = transport
        self._cut = False

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with that code; a second call does nothing. With `ABNORMAL`, what was sent still goes out, and then
        the connection ends without a closing handshake.
        """
        if self._cut:
            return
        if code == ABNORMAL and self._transport is not None and not self._socket.closed:
            self._cut = True
            self._transport.close()
            return
        await super().close(1011 if code == ABNORMAL else code, reason)

    def close_soon(self, code: int, reason: str) -> None:
        """Close without waiting for it (the listener's shutdown)."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.close(code, reason))


class ClientWebSocket(_AiohttpWebSocket):
    """A WebSocket that this process opened."""


class _End:
    """One end of a pair. The sender waits while more than a mebibyte lies unread at the other end."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.close_code: int | None = None
        self._peer: _End = self
        self._inbox: deque[bytes | str] = deque()
        self._unread = 0
        self._closed = False
        self._changed = asyncio.Event()

    async def receive(self) -> bytes | str | None:
        """The next message; what was sent before the other side closed still arrives."""
        while not self._inbox:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        message = self._inbox.popleft()
        self._unread -= len(message)
        self._peer._changed.set()
        return message

    async def send(self, data: bytes | str) -> None:
        """Put one message into the peer's inbox. Raises ConnectionError once closed."""
        peer = self._peer
        while not self._closed and peer._unread > _WINDOW:
            self._changed.clear()
            await self._changed.wait()
        if self._closed:
            raise ConnectionResetError("the WebSocket is closed")
        peer._inbox.append(data)
        peer._unread += len(data)
        peer._changed.set()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close both ends; a second call does nothing."""
        for end in (self, self._peer):
            if not end._closed:
                end._closed = True
                end.close_code = code
                end._changed.set()


def websocket_pair(protocol: str) -> tuple[WebSocket, WebSocket]:
    """Two connected WebSockets in this process, for a handler and its in-process client."""
    one, other = _End(protocol), _End(protocol)
    one._peer, other._peer = other, one
    return one, other
