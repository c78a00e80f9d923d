"""What carries a client's requests: HTTP to a server, or a straight call into a handler of this process."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from kumo.api.errors import StatusError, bad_request, internal
from kumo.api.users import UserInfo
from kumo.machinery.client import Reply, raise_for_status
from kumo.machinery.http import Answer, Handler, HeaderLines, Request, Response, Upgrade, WebSocket, header_lines
from kumo.machinery.listener.replies import close_iterator, status_response
from kumo.machinery.servers import Servers
from kumo.machinery.tls import client_context
from kumo.machinery.websocket import ClientWebSocket, websocket_pair

_log = structlog.get_logger("kumo.transport")
_LINGER = 5.0
_LARGEST_MESSAGE = 32 << 20
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_SILENCE = 4
"""Seconds without a sign of life of a server's machine after which it is asked for one, every second second."""
_LOST = 12
"""Seconds after which a machine that does not answer at all is given up."""


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    if not headers:
        return {}
    found: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        found[name] = HeaderLines((*header_lines(found[name]), value)) if name in found else value
    return found


class InProcessTransport:
    """Calls `handler` straight, as `user`. Its answers, refusals and streams are those of the network."""

    def __init__(self, handler: Handler, user: UserInfo | None = None) -> None:
        self._handler = handler
        self._user = user

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._handler(request)
        except StatusError as error:
            return status_response(error)
        except Exception:
            _log.exception("a handler failed", method=request.method, path=request.path)
            return status_response(internal("an error on the server has prevented the request from succeeding"))

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Reply:
        """Call the handler and collect its whole answer."""
        answer = await self._answer(Request(method, path, query, _lower(headers), body, self._user))
        if isinstance(answer, Upgrade):
            answer = status_response(bad_request("Upgrade request required"))
        found = _lower(answer.headers)
        found["content-type"] = answer.content_type
        return Reply(answer.status, found, await _whole(answer))

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Call the handler; the status and its body's chunks. Leaving the context ends the handler's iterator."""
        answer = await self._answer(Request(method, path, query, _lower(headers), b"", self._user))
        if isinstance(answer, Upgrade):
            answer = status_response(bad_request("Upgrade request required"))
        chunks = _chunks(answer)
        try:
            yield answer.status, chunks
        finally:
            await close_iterator(chunks)
            await close_iterator(answer.body)

    @asynccontextmanager
    async def websocket(
        self, path: str, *, query: str = "", protocols: tuple[str, ...] = ()
    ) -> AsyncIterator[WebSocket]:
        """Open a WebSocket to the handler. Raises StatusError when it refuses."""
        headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13"}
        if protocols:
            headers["sec-websocket-protocol"] = ", ".join(protocols)
        answer = await self._answer(Request("GET", path, query, headers, b"", self._user))
        if not isinstance(answer, Upgrade):
            raise_for_status(Reply(answer.status, {}, await _whole(answer)))
            raise StatusError(answer.status, "", f"the server answered {answer.status} instead of upgrading")
        ours, theirs = websocket_pair(answer.protocol)
        task = asyncio.create_task(_run_upgrade(answer, theirs, path), name=f"websocket {path}")
        try:
            yield ours
        finally:
            await ours.close()
            await asyncio.wait([task], timeout=_LINGER)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Nothing to let go of."""


async def _run_upgrade(answer: Upgrade, socket: WebSocket, path: str) -> None:
    code = 1000
    try:
        await answer.run(socket)
    except ConnectionError:
        pass
    except Exception:
        code = 1011
        _log.exception("a WebSocket handler failed", path=path)
    finally:
        await socket.close(code)


async def _chunks(answer: Response) -> AsyncIterator[bytes]:
    body = answer.body
    if isinstance(body, bytes):
        if body:
            yield body
    elif hasattr(body, "__aiter__"):
        async for chunk in cast("AsyncIterator[bytes]", body):
            yield chunk
    else:
        for chunk in body:
            yield chunk


async def _whole(answer: Response) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    try:
        return b"".join([chunk async for chunk in _chunks(answer)])
    finally:
        await close_iterator(answer.body)


class HttpTransport:
    """Requests to `base_url` (`https://host:port[/prefix]`, `http://...`) over kept-alive connections.

    `ca`, `cert`, `key` are file paths; `tls` a ready SSL context instead of them. `token` is sent as bearer token: a
    string, or a function that gives the newest one. `unix` is the path of a unix socket to connect to.
    `timeout` bounds a whole `request` in seconds (0: none), `connect_timeout` the making of a connection.
    `resolver` finds the host's address anew for each connection, instead of the name service.
    Without `decompress` (for proxies), bodies are given as they come over the wire. `servers`, instead of the one at
    `base_url`: who can't be connected to is passed over, and who is silent for some seconds though there is something
    to answer is taken to be gone.
    """

    def __init__(
        self,
        base_url: str,
        *,
        ca: str | Path = "",
        cert: str | Path = "",
        key: str | Path = "",
        tls: ssl.SSLContext | None = None,
        token: str | Callable[[], str] = "",
        headers: Mapping[str, str] | None = None,
        unix: str | Path = "",
        timeout: float = 60.0,
        connect_timeout: float = 10.0,
        server_name: str = "",
        decompress: bool = True,
        resolver: AbstractResolver | None = None,
        servers: Servers | None = None,
    ) -> None:
        self._resolver = resolver
        self._servers = servers or Servers(base_url)
        self._several = servers is not None
        self._secure = base_url.startswith("https:")
        if tls is None and self._secure:
            tls = client_context(ca=ca, cert=cert, key=key)
        self._tls = tls
        self._token = token
        self._headers = dict(headers or {})
        self._unix = str(unix)
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._server_name = server_name
        self._decompress = decompress
        self._session: aiohttp.ClientSession | None = None
        self._former: list[aiohttp.ClientSession] = []
        self._ending: set[asyncio.Future[None]] = set()
        self._made: dict[str, URL] = {}

    @property
    def base_url(self) -> str:
        """The server that is asked now."""
        return self._servers.current

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector: aiohttp.BaseConnector
            if self._unix:
                connector = aiohttp.UnixConnector(self._unix, limit=0)
            else:
                tls: ssl.SSLContext | bool = self._tls if self._tls is not None else True
                connector = aiohttp.TCPConnector(
                    ssl=tls,
                    limit=0,
                    keepalive_timeout=60.0,
                    ttl_dns_cache=30,
                    resolver=self._resolver,
                    use_dns_cache=self._resolver is None,
                    socket_factory=_watchful_socket if self._several else None,
                )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers={"User-Agent": "kumo"},
                auto_decompress=self._decompress,
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(_refusals,),
                read_bufsize=1 << 18,
                max_line_size=65536,
                max_field_size=65536,
            )
        return self._session

    @staticmethod
    def _target(base: str, path: str, query: str) -> URL:
        return URL(f"{base}{path}?{query}" if query else f"{base}{path}", encoded="%" in path)

    def _sent(self, headers: Mapping[str, str] | None) -> MutableMapping[str, str]:
        sent: MutableMapping[str, str]
        if isinstance(headers, CIMultiDict):  # A header may be there more than once.
            sent = CIMultiDict(self._headers)
            sent.update(headers)
        else:
            sent = {**self._headers, **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token if isinstance(self._token, str) else self._token()}"
        return sent

    def _options(self, total: float) -> dict[str, Any]:
        options: dict[str, Any] = {
            "timeout": aiohttp.ClientTimeout(total=total or None, connect=self._connect_timeout),
            "allow_redirects": False,
        }
        if self._server_name:
            options["server_hostname"] = self._server_name
        return options

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Reply:
        """Send a request and read the whole answer. Raises ConnectionError when the server can't be reached."""
        base, answer = await self._open(method, path, query, headers, body, self._options(self._timeout))
        async with answer:
            try:
                return Reply(answer.status, _lower(answer.headers), await answer.read())
            except (aiohttp.ClientError, TimeoutError) as error:
                raise self._lost(base, error) from error

    async def _open(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str] | None,
        body: bytes | AsyncIterator[bytes],
        options: Mapping[str, Any],
    ) -> tuple[str, aiohttp.ClientResponse]:
        """The server that answers, and the beginning of its answer. Raises ConnectionError."""
        others = len(self._servers.urls) - 1
        while True:
            base = self.base_url
            try:
                return base, await self._connected().request(
                    method,
                    self._target(base, path, query),
                    headers=self._sent(headers),
                    data=body or None,
                    **options,
                )
            except (aiohttp.ClientError, TimeoutError) as error:
                unreachable = self._lost(base, error)
                # Only who was not even connected to has certainly not done it.
                if others <= 0 or not isinstance(error, _NOT_CONNECTED):
                    raise unreachable from error
                others -= 1

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Send a request; the status and the body's chunks as they come. Raises ConnectionError, also while reading."""
        async with self.exchange(method, path, query=query, headers=headers, body=body) as (head, chunks):
            yield head.status, chunks

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> AsyncIterator[tuple[Reply, AsyncIterator[bytes]]]:
        """As `stream`, with the answer's headers: a Reply without body, and the body's chunks (what a proxy needs)."""
        # What the client did not say, nobody says for it.
        options = {"skip_auto_headers": ("Content-Type",), **self._options(0)}
        base, answer = await self._open(method, path, query, headers, body, options)
        try:
            yield Reply(answer.status, _lower(answer.headers), b""), self._received(base, answer)
        finally:
            answer.close()

    async def _received(self, base: str, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for chunk in answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._lost(base, error) from error

    @asynccontextmanager
    async def websocket(
        self,
        path: str,
        *,
        query: str = "",
        protocols: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[WebSocket]:
        """Open a WebSocket. Raises StatusError when the server refuses, ConnectionError when it can't be reached."""
        base = self.base_url
        try:
            opened = await self._connected().ws_connect(
                self._target(base, path, query),
                protocols=protocols,
                headers=self._sent(headers),
                max_msg_size=_LARGEST_MESSAGE,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                server_hostname=self._server_name or None,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise StatusError(error.status, "", f"{error.message} at {path}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._lost(base, error) from error
        stream = ClientWebSocket(opened, opened.protocol or "")
        try:
            yield stream
        finally:
            await asyncio.create_task(stream.close())  # It waits for a while only, which needs a task of its own here.

    def _lost(self, base: str, error: BaseException) -> ConnectionError:
        """What to raise for a server that failed; another one is asked from now on, if there is one."""
        self._servers.failed(base)
        why = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return ConnectionError(f"{self._unix or base} can't be reached: {why}")

    async def close(self) -> None:
        """Let go of connections; a later request makes new ones."""
        sessions, self._session, self._former = [*self._former, self._session], None, []
        for session in sessions:
            if session is not None:
                await session.close()

    def renew(self, linger: float = 60.0) -> None:
        """Make new connections for what comes, as after a change of the certificate; end the others in a while.

        What is under way has `linger` seconds to end; a watch is cut off then, and resumed by whoever watches.
        """
        session, self._session = self._session, None
        if session is not None:
            self._former.append(session)
            asyncio.get_running_loop().call_later(linger, self._end, session)

    def _end(self, session: aiohttp.ClientSession) -> None:
        if session in self._former:
            self._former.remove(session)
            task = asyncio.ensure_future(session.close())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


def _watchful_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that breaks when the machine at its other end is gone, also while nothing is said."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LOST * 1000)
    return made


async def _refusals(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn the refusal of a WebSocket handshake into its StatusError while its body can still be read."""
    answer = await handler(request)
    if answer.status != 101 and request.headers.get("Upgrade", "").lower() == "websocket":
        body = await answer.read()
        answer.release()
        raise_for_status(Reply(answer.status, {}, body))
        raise StatusError(answer.status, "", f"the server answered {answer.status} instead of upgrading")
    return answer
