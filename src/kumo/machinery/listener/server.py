"""The listening socket: start, drain, stop.

Shutdown is graceful: accepting stops, idle connections close, watches (`watch=`, `follow=` in the query) end with a
clean last chunk, WebSockets close with 1001, everything else gets the grace time to finish.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from aiohttp import web

from kumo.machinery.deadlines import ends_within
from kumo.machinery.http import Answer, Handler, Request
from kumo.machinery.listener.connection import Connection, Exchange, serve
from kumo.machinery.listener.identity import Identify, Peers, user_of_peer
from kumo.machinery.listener.limits import Limits
from kumo.machinery.listener.replies import Framing
from kumo.machinery.listener.secure import SecureServer

_log = structlog.get_logger("kumo.listener")
_BACKLOG = 1024


class ListenError(OSError):
    """The socket can't be listened on; the message says which, why, and what to do."""


class _Server(web.Server):
    """aiohttp's low-level server, making our connections and exchanges."""

    def __init__(self, listener: Listener, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self.limits = limits
        self.framing = Framing()
        self.peers = Peers()
        self._most = limits.most_connections
        self._options: dict[str, Any] = {
            "keepalive_timeout": limits.idle,
            "access_log": None,
            "max_line_size": limits.line,
            "max_field_size": limits.header,
            "max_headers": limits.headers,
            "lingering_time": limits.linger,
            "read_bufsize": limits.read_buffer,
            "auto_decompress": False,
        }
        self._drained = asyncio.Event()
        self._full = False
        super().__init__(
            self._serve,  # type: ignore[arg-type]
            request_factory=Exchange,  # type: ignore[arg-type]
            handler_cancellation=True,
            loop=loop,
        )

    async def _serve(self, exchange: Exchange) -> Any:
        return await serve(self._listener, exchange)

    def __call__(self) -> Connection:
        connection = Connection(self, loop=self._loop, **self._options)
        connection.identify = self._listener.identify
        return connection

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Count the connection; one too many is closed at once."""
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            if not self._full:
                self._full = True
                _log.warning("too many connections: new ones are closed", limit=self._most)
            transport.abort()
        elif self._full:
            self._full = False

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if not any(c.transport is not None and c is not handler for c in self._connections):
            self._drained.set()

    async def drain(self, grace: float) -> None:
        """End what can be ended at once, wait up to `grace` seconds for the rest, then cut it off."""
        self._drained.clear()
        for connection in self.connections:
            assert isinstance(connection, Connection)
            connection.draining = True
            if connection.idle:
                connection.force_close()
            elif connection.exchange is not None:
                connection.exchange.end()
        living = any(c.transport is not None for c in self._connections)
        if living and not await ends_within(grace, self._drained.wait()):
            _log.warning("requests cut off at shutdown", count=len(self._connections))
        await self.shutdown(0.05)


class Listener:
    """Serves `handler` on a TCP address, or on the unix socket `path`.

    `tls` is a server-side SSL context (`kumo.machinery.tls.server_context`); without one the socket is plain.
    `identify` says whose a client certificate is.
    `port` 0 takes a free one: read it from `port` after `start`. A component in the sense of ARCHITECTURE.md: `run`
    serves until cancelled.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | Path = "",
        tls: ssl.SSLContext | None = None,
        grace: float = 10.0,
        limits: Limits | None = None,
        name: str = "listener",
        identify: Identify = user_of_peer,
    ) -> None:
        self.handler = handler
        self.identify = identify
        self.host = host
        self.port = port
        self.path = str(path)
        self.name = name
        self.scheme = "https" if tls is not None else "http"
        self._tls = tls
        self._grace = grace
        self._limits = limits or Limits()
        self._server: _Server | None = None
        self._socket: asyncio.Server | SecureServer | None = None
        self._writes: set[asyncio.Task[Answer]] = set()

    def begin(self, request: Request) -> asyncio.Task[Answer]:
        """Start a handler that goes on to its end even if nobody waits for it any more."""
        task: asyncio.Task[Answer] = asyncio.ensure_future(_answered(self.handler, request))
        self._writes.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # Seen: if its client has gone, nobody else asks.

    @property
    def url(self) -> str:
        """Where a client on this machine reaches it (TCP only)."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises `ListenError` when the address is taken or can't be used."""
        loop = asyncio.get_running_loop()
        self._server = _Server(self, self._limits, loop)
        try:
            options: dict[str, Any] = {"ssl": self._tls, "backlog": _BACKLOG}
            if self._tls is not None:
                options["ssl_handshake_timeout"] = self._limits.handshake
            if self.path:
                await asyncio.to_thread(_remove_stale_socket, self.path)
                self._socket = await loop.create_unix_server(self._server, self.path, **options)
            elif self._tls is not None:
                patience = self._limits.handshake
                secure = await SecureServer.start(self._server, self.host, self.port, self._tls, patience, _BACKLOG)
                self._socket, self.port = secure, secure.sockets[0].getsockname()[1]
            else:
                plain = await loop.create_server(self._server, self.host, self.port, reuse_address=True, **options)
                self._socket, self.port = plain, plain.sockets[0].getsockname()[1]
        except OSError as error:
            raise _explained(error, self.path or f"{self.host}:{self.port}") from error

    async def stop(self) -> None:
        """Stop accepting, drain, close. A second call does nothing."""
        server, listening, self._server, self._socket = self._server, self._socket, None, None
        if listening is not None:
            listening.close()
        if server is not None:
            deadline = asyncio.get_running_loop().time() + self._grace
            await server.drain(self._grace)
            if self._writes:
                # Writes whose clients have gone: they have what is left of the grace time.
                left = max(0.0, deadline - asyncio.get_running_loop().time())
                _, late = await asyncio.wait(self._writes, timeout=left)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)
        if listening is not None:
            await listening.wait_closed()
        if self.path:
            await asyncio.to_thread(Path(self.path).unlink, missing_ok=True)

    async def run(self) -> None:
        """Serve until cancelled, then stop gracefully."""
        if self._server is None:
            await self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def __aenter__(self) -> Listener:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def _answered(handler: Handler, request: Request) -> Answer:
    return await handler(request)


def _remove_stale_socket(path: str) -> None:
    """Remove a socket file that nobody listens on any more. Raises OSError when somebody does."""
    if not os.path.exists(path):  # noqa: PTH110
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            Path(path).unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "in use")


def _explained(error: OSError, where: str) -> ListenError:
    number = error.errno or 0
    if number == errno.EADDRINUSE:
        why = f"{where} is taken: another program listens there already; stop it, or choose another with --port"
    elif number == errno.EACCES:
        why = f"{where} may not be listened on by this user; become root, or choose a port above 1023"
    elif number == errno.EADDRNOTAVAIL:
        why = f"{where} can't be listened on: this machine has no such address"
    else:
        why = f"{where} can't be listened on: {error.strerror or error}"
    return ListenError(number, why)
