"""One connection: requests become values, answers become bytes.

aiohttp's `RequestHandler` parses and drives keep-alive; what it makes of a request (`Exchange`) and of an answer
(`Reply`) is ours, and as thin as its protocol allows: a plain answer is one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion10
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from kumo.api.errors import StatusError, bad_request, internal
from kumo.api.users import UserInfo
from kumo.machinery.http import (
    Answer,
    HeaderLines,
    PeerCertificate,
    RawUpgrade,
    Request,
    Response,
    Upgrade,
    header_lines,
    size_of,
)
from kumo.machinery.listener.identity import Identify, Peers, user_of_peer
from kumo.machinery.listener.limits import Limits
from kumo.machinery.listener.replies import BODILESS, Framing, close_iterator, declared_length, head, status_response
from kumo.machinery.listener.takeover import take_over
from kumo.machinery.websocket import ServerWebSocket

if TYPE_CHECKING:
    from kumo.machinery.listener.server import Listener

_log = structlog.get_logger("kumo.listener")
_SMALL = 65536
_PIECE = 1 << 18
"""How many bytes are given to a connection at a time."""
_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_SINGLE = frozenset(
    ("accept", "authorization", "content-type", "host", "user-agent", "impersonate-user", "impersonate-uid", "audit-id")
)
"""Headers of which the first counts when they are repeated."""
LARGEST_MESSAGE = 32 << 20


class Connection(RequestHandler):
    """A client's connection; `user` is who its certificate proves, found once at the first request."""

    __slots__ = (
        "_identified",
        "_limits",
        "_peers",
        "_user",
        "certificate",
        "draining",
        "exchange",
        "framing",
        "identify",
        "peer",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits: Limits = args[0].limits
        self.framing: Framing = args[0].framing
        self._peers: Peers = args[0].peers
        self._identified = False
        self._user: UserInfo | None = None
        self.certificate: PeerCertificate | None = None
        self.identify: Identify = user_of_peer
        self.peer = ""
        self.exchange: Exchange | None = None
        self.draining = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come; it has the time for its first request that new connections have."""
        limits = self._limits
        patience = min(limits.first, limits.idle)
        self._keepalive_timeout = 0.0  # aiohttp would make a timer that we replace
        super().connection_made(transport)
        self._keepalive_timeout = limits.idle
        if patience > 0:
            close_time = self._next_keepalive_close_time = self._loop.time() + patience
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    async def drained(self) -> None:
        """Return once the client has read enough of what waits for it. One that reads nothing for long is cut off."""
        while self._paused and (transport := self.transport) is not None:
            waiting = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._limits.stall):
                    await self._drain_helper()
                return
            except TimeoutError:
                if transport.get_write_buffer_size() >= waiting:
                    _log.info("a client that does not read is cut off", remote=self.peer, waiting=waiting)
                    transport.abort()
                    raise ConnectionResetError("the client does not read") from None

    @property
    def user(self) -> UserInfo | None:
        """Who holds the client certificate of this connection, if anybody."""
        if not self._identified:
            self._identified = True
            transport = self.transport
            if transport is not None:
                peer = transport.get_extra_info("peername")
                self.peer = peer[0] if isinstance(peer, tuple) else ""
                tls = transport.get_extra_info("ssl_object")
                if tls is not None and (found := self._peers.certificate(tls)) is not None:
                    self.certificate = found
                    self._user = self.identify(found)
        return self._user

    @property
    def body_pause(self) -> float:
        """How long a body may pause, in seconds."""
        return self._limits.body

    @property
    def idle(self) -> bool:
        """Whether no request is being served or waits to be."""
        return self.exchange is None and self._current_request is None and not self._messages

    def handle_error(  # type: ignore[override]
        self,
        request: Any,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Reply:
        """Answer a request that cannot be parsed (aiohttp calls this), and close."""
        _log.debug("bad request", remote=self.peer, error=message or str(exc))
        if isinstance(exc, LineTooLong):
            text = "the request line or a header field is too long"
            refusal = StatusError(431, "RequestHeaderFieldsTooLarge", text)
        elif status == 500:
            refusal = internal("an error on the server has prevented the request from succeeding")
        else:
            # Only the first line: the rest quotes what came, which may hold a secret.
            words = (message or "malformed HTTP request").splitlines()[0].rstrip(": ")
            refusal = StatusError(status, "BadRequest", words)
        return Reply(request, status_response(refusal), close=True)


def _readable(text: str) -> str:
    """The text with what is not UTF-8 replaced: aiohttp keeps such bytes as lone surrogates, which can't be encoded."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Exchange:
    """One request in flight. aiohttp sees the few members of its request class that it uses itself."""

    __slots__ = (
        "_continue",
        "_task",
        "connection",
        "ending",
        "message",
        "payload",
        "streaming",
        "taken",
        "upgraded",
        "writer",
    )

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: Connection,
        writer: Any,
        task: asyncio.Task[None],
    ) -> None:
        self.message = message
        self.payload = payload
        self.connection = protocol
        self.writer = writer
        self._task = task
        self._continue = False
        self.streaming: asyncio.Task[Any] | None = None
        self.upgraded: ServerWebSocket | None = None
        self.taken = False
        self.ending = False

    @property
    def remote(self) -> str:
        """The client's address."""
        return self.connection.peer

    def _cancel(self, exc: BaseException) -> None:
        if self.payload is not EMPTY_PAYLOAD:
            self.payload.set_exception(exc)

    def _finish(self) -> None:
        """Nothing to let go of; aiohttp calls it before the answer."""

    # -- the request ------------------------------------------------------------------------------------------------

    def request(self, scheme: str) -> Request:
        """The request as a value. Repeated headers are joined by `, ` (RFC 9110, 5.3), see `HeaderLines`;

        of those that have one value the first counts (as for Go's Header.Get).
        """
        message = self.message
        headers: dict[str, str] = {}
        for name, value in message.headers.items():
            name = name.lower()
            value = _readable(value)
            if name not in headers:
                headers[name] = value
            elif name not in _SINGLE:
                headers[name] = HeaderLines((*header_lines(headers[name]), value))
        target = _readable(message.path)
        if not target.startswith("/"):
            target = message.url.raw_path_qs
        path, _, query = target.partition("?")
        if "%" in path:
            path = unquote(path)
        user = self.connection.user
        self._continue = "expect" in headers and headers["expect"].lower() == "100-continue"
        content: bytes | AsyncIterator[bytes] = b""
        payload = self.payload
        if payload is not EMPTY_PAYLOAD:
            if payload.is_eof() and payload.exception() is None:
                content = payload.read_nowait()
            else:
                content = self._body()
        where, certificate = self.connection.peer, self.connection.certificate
        return Request(message.method, path, query, headers, content, user, where, scheme, certificate)

    async def _body(self) -> AsyncIterator[bytes]:
        if self._continue:
            self._continue = False
            if not self.payload.is_eof() and (transport := self.connection.transport) is not None:
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        pause = self.connection.body_pause
        while True:
            try:
                async with asyncio.timeout(pause):
                    chunk = await self.payload.readany()
            except TimeoutError:
                text = f"the body of the request did not go on within {pause:g} seconds"
                raise StatusError(408, "Timeout", text) from None
            if not chunk:
                return
            yield chunk

    @property
    def must_close(self) -> bool:
        """Whether the connection ends with this exchange."""
        unasked_body = self._continue and not self.payload.is_eof()
        return self.message.should_close or self.connection.draining or unasked_body

    def end(self) -> None:
        """The server is going down: end a watch or a WebSocket cleanly now; anything else gets its grace time."""
        if self.upgraded is not None:
            self.upgraded.close_soon(1001, "the server is shutting down")
        elif self.taken and self.connection.transport is not None:
            self.connection.transport.close()
        elif self.streaming is not None:
            query = self.message.path.partition("?")[2]
            if "watch=" in query or "follow=" in query:
                self.ending = True
                self.streaming.cancel()

    # -- the answer -------------------------------------------------------------------------------------------------

    async def upgrade(self, answer: Upgrade) -> Reply | web.StreamResponse:
        """Turn the connection into a WebSocket and run its handler to the end."""
        loop = asyncio.get_running_loop()
        original = web.BaseRequest(self.message, self.payload, self.connection, self.writer, self._task, loop)
        protocols = (answer.protocol,) if answer.protocol else ()
        response = web.WebSocketResponse(protocols=protocols, compress=False, max_msg_size=LARGEST_MESSAGE, timeout=2.0)
        response.headers.update(answer.headers)
        try:
            await response.prepare(original)
        except web.HTTPBadRequest as error:
            return Reply(self, status_response(bad_request(error.text or "not a WebSocket handshake")), close=True)
        socket = self.upgraded = ServerWebSocket(response, answer.protocol, original.transport)
        code, reason = 1000, ""
        try:
            await answer.run(socket)
        except ConnectionError:
            pass
        except Exception:
            code, reason = 1011, "internal error"
            _log.exception("a WebSocket handler failed", path=self.message.path.partition("?")[0])
        await socket.close(code, reason)
        return response


class Reply:
    """An answer on its way out, in the form that aiohttp's connection finishes it: `prepare`, `write_eof`."""

    __slots__ = ("_exchange", "_response", "body_length", "keep_alive", "status")

    def __init__(self, exchange: Exchange, response: Response, *, close: bool = False) -> None:
        self._exchange = exchange
        self._response = response
        self.status = response.status
        self.body_length = 0
        self.keep_alive = not (close or exchange.must_close)

    async def prepare(self, _request: object) -> None:
        """Write the whole answer."""
        response, exchange = self._response, self._exchange
        body = response.body
        connection = exchange.connection
        transport = connection.transport
        if transport is None or transport.is_closing():
            await close_iterator(body)
            raise ConnectionResetError("the client has gone")
        http10 = exchange.message.version == HttpVersion10
        bodiless = exchange.message.method == "HEAD" or response.status in BODILESS
        if isinstance(body, bytes):
            length = declared_length(response.headers) if bodiless and response.headers else None
            top = head(response, None if length is not None else len(body), close=not self.keep_alive, http10=http10)
            if len(body) <= _PIECE or bodiless:
                transport.write(top if bodiless else top + body)
            else:
                transport.write(top)
                await self._write(body, transport)
            if connection._paused:
                await connection.drained()
        elif hasattr(body, "__aiter__"):
            await self._stream(cast("AsyncIterator[bytes]", body), transport, http10, bodiless)
        else:
            length = size_of(body)
            top = head(response, length, close=not self.keep_alive, http10=http10)
            if bodiless:
                transport.write(top)
            elif length < _SMALL:
                transport.write(top + b"".join(body))
            else:
                transport.write(top)
                for chunk in body:
                    if len(chunk) > _PIECE:
                        await self._write(chunk, transport)
                        continue
                    transport.write(chunk)
                    if connection._paused:
                        await connection.drained()
            if connection._paused:
                await connection.drained()

    async def _write(self, data: bytes, transport: asyncio.WriteTransport) -> None:
        """Write much data as the client takes it: TLS would make one copy of all of it for each client."""
        connection, view = self._exchange.connection, memoryview(data)
        for start in range(0, len(data), _PIECE):
            transport.write(view[start : start + _PIECE])
            if connection._paused:
                await connection.drained()

    async def write_eof(self) -> None:
        """Everything has been written by `prepare`; the connection is free again."""
        connection = self._exchange.connection
        connection.exchange = None
        if connection.draining:
            self.keep_alive = False

    async def _stream(
        self, body: AsyncIterator[bytes], transport: asyncio.WriteTransport, http10: bool, bodiless: bool
    ) -> None:
        exchange, connection = self._exchange, self._exchange.connection
        length = declared_length(self._response.headers)
        chunked = length is None and not http10
        if length is None and http10:
            self.keep_alive = False
        top = head(self._response, None, chunked=chunked, close=not self.keep_alive, http10=http10)
        transport.write(top)
        if bodiless:
            await close_iterator(body)
            return
        exchange.streaming = asyncio.current_task()
        if connection.draining:
            exchange.end()
        sink = ClientSink(connection, transport, connection.framing if chunked else None)
        feed = getattr(body, "feed", None)
        try:
            if feed is not None:
                await feed(sink)
            else:
                async for chunk in body:
                    if transport.is_closing():
                        raise ConnectionResetError("the client has gone")
                    sink.write(chunk)
                    # A connection that has just died swallows what is written to it until the loop has seen to it,
                    # and a body that never waits would not let it.
                    await asyncio.sleep(0)
                    if connection._paused:
                        await connection.drained()
        except asyncio.CancelledError:
            if not exchange.ending or exchange.streaming is None:
                raise
            exchange.streaming.uncancel()
            self.keep_alive = False
        except ConnectionError:
            raise
        except Exception as error:
            _log.exception("a streamed answer broke off", path=exchange.message.path.partition("?")[0])
            transport.abort()
            raise ConnectionAbortedError("the answer broke off") from error
        finally:
            exchange.streaming = None
            await close_iterator(body)
        if chunked:
            transport.write(b"0\r\n\r\n")
        if connection._paused:
            await connection.drained()


class ClientSink:
    """A client as what a streamed body is written to."""

    __slots__ = ("_connection", "_framing", "_transport")

    def __init__(self, connection: Connection, transport: asyncio.WriteTransport, framing: Framing | None) -> None:
        self._connection = connection
        self._transport = transport
        self._framing = framing

    @property
    def blocked(self) -> bool:
        """Whether more waits for the client than should."""
        return self._connection._paused

    def write(self, chunk: bytes) -> None:
        """Send a chunk on its way, unless it is empty or the client has gone."""
        transport = self._transport
        if chunk and not transport.is_closing():
            transport.write(self._framing.of(chunk) if self._framing is not None else chunk)

    async def drained(self) -> None:
        """Wait for a slow client; one that reads nothing is cut off (ConnectionError)."""
        await self._connection.drained()


async def serve(listener: Listener, exchange: Exchange) -> Any:
    """Ask the handler and give what it answers in the form that the connection finishes.

    A client that goes away ends a read at once. A write that has begun is finished without him: cut off in the middle
    it could leave half of what it makes. (An upload ends all the same, when its body does not go on.)
    """
    connection = exchange.connection
    connection.exchange = exchange
    request = exchange.request(listener.scheme)
    try:
        if request.method in _READS:
            answer: Answer = await listener.handler(request)
        else:
            answer = await asyncio.shield(listener.begin(request))
    except StatusError as error:
        answer = status_response(error)
    except Exception:
        _log.exception("a handler failed", method=request.method, path=request.path)
        answer = status_response(internal("an error on the server has prevented the request from succeeding"))
    if isinstance(answer, Upgrade):
        if isinstance(answer, RawUpgrade):
            exchange.taken = True
            return await take_over(connection, answer, request.path)
        if not request.wants_websocket:
            return Reply(exchange, status_response(bad_request("Upgrade request required")))
        return await exchange.upgrade(answer)
    return Reply(exchange, answer)
