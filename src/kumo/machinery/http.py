"""HTTP as values: a request in, a response out, whatever carries them.

A component that serves something is a `Handler`. The listener calls it for requests from the network, the in-process
transport calls it straight; neither the handler nor its caller can tell the difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl

from kumo.api.users import UserInfo

Body = bytes | AsyncIterator[bytes]


class Sink(Protocol):
    """Where a `Feed` writes to: one client."""

    @property
    def blocked(self) -> bool:
        """Whether the client reads too slowly: who has more for it waits for `drained`."""
        ...

    def write(self, chunk: bytes) -> None:
        """Send the bytes on their way; they are dropped once the client has gone."""
        ...

    async def drained(self) -> None:
        """Return once the client has read enough. Raises ConnectionError when it has gone."""
        ...


class Feed(Protocol):
    """A body that is written from where its news arise, without a task for each client between them.

    Who can't be written to takes it as an iterator.
    """

    async def feed(self, sink: Sink) -> None:
        """Write to the sink, until the body ends."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


def first_values(query_string: str) -> dict[str, str]:
    """The values of a query by name; of a repeated name the first, as everywhere upstream.

    Who decides whether a request may be served must read it as who serves it does.
    """
    return dict(reversed(parse_qsl(query_string, keep_blank_values=True))) if query_string else {}


class BodyTooLarge(Exception):
    """The body of a request is over the limit that its reader set."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A client certificate whose chain TLS has verified.

    `described` is what `ssl` tells of it, `der` its encoding, `root` the SHA-256 of the CA that its chain ends in.
    """

    described: Mapping[str, Any]
    der: bytes
    root: bytes
    common_name: str


@dataclass(slots=True)
class Request:
    """One request. Header names are lower case; `path` is decoded and has no query."""

    method: str
    path: str
    query_string: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Body = b""
    user: UserInfo | None = None
    """Who the transport proved the caller to be (client certificate, or the component itself in process)."""
    remote: str = ""
    """The caller's address, empty in process."""
    scheme: str = "https"
    peer: PeerCertificate | None = None
    """The client certificate of the connection, verified by TLS; None in process and without one."""
    context: object = None
    """What the server that answers keeps with the request; its own affair."""

    @property
    def query(self) -> dict[str, str]:
        """The query's values by name; see `first_values`."""
        return first_values(self.query_string)

    @property
    def query_list(self) -> list[tuple[str, str]]:
        """The query's names and values in order."""
        return parse_qsl(self.query_string, keep_blank_values=True) if self.query_string else []

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises `BodyTooLarge` beyond `limit` bytes, without reading on."""
        if isinstance(self.content, bytes):
            if len(self.content) > limit:
                raise BodyTooLarge
            return self.content
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.content:
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge
            chunks.append(chunk)
        self.content = b"".join(chunks)
        return self.content

    async def stream(self) -> AsyncIterator[bytes]:
        """The body chunk by chunk, for bodies too large to hold."""
        if isinstance(self.content, bytes):
            if self.content:
                yield self.content
            return
        async for chunk in self.content:
            yield chunk

    @property
    def wants_websocket(self) -> bool:
        """Whether the client asks to upgrade to a WebSocket (RFC 6455)."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def wanted_protocol(self) -> str:
        """What other protocol than WebSocket the client asks to go over to on this connection; empty: none."""
        wanted = self.headers.get("upgrade", "")
        if not wanted or wanted.lower() in ("websocket", "h2c") or "," in wanted:
            return ""
        tokens = [token.strip().lower() for token in self.headers.get("connection", "").split(",")]
        return wanted if "upgrade" in tokens else ""

    @property
    def websocket_protocols(self) -> list[str]:
        """The subprotocols the client offers, in its order."""
        offered = self.headers.get("sec-websocket-protocol", "")
        return [p.strip() for p in offered.split(",") if p.strip()]


class HeaderLines(str):
    """A header's value that is written as several lines of one name; as text, what RFC 9110 says they amount to.

    Who reads `headers` in process sees the values joined by commas, as the client of a socket does. Where a comma may
    be part of a value, `header_lines` tells them apart, of requests and of answers.
    """

    lines: tuple[str, ...]

    def __new__(cls, lines: Sequence[str]) -> HeaderLines:
        """The value of one line or more."""
        value = super().__new__(cls, ", ".join(lines))
        value.lines = tuple(lines)
        return value


def size_of(body: bytes | Sequence[bytes]) -> int:
    """The length of a body that is there as a whole. A sequence that is put together as it is written tells its own."""
    if isinstance(body, bytes):
        return len(body)
    size: int | None = getattr(body, "size", None)
    return sum(map(len, body)) if size is None else size


def header_lines(value: str | None) -> tuple[str, ...]:
    """The values that a header was given in lines of its own; none when it is not there."""
    if value is None:
        return ()
    return value.lines if isinstance(value, HeaderLines) else (value,)


@dataclass(slots=True)
class Response:
    """One answer. A list body is written chunk by chunk with a Content-Length; an iterator or a feed is streamed."""

    status: int = 200
    body: bytes | Sequence[bytes] | AsyncIterator[bytes] | Feed = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class WebSocket(Protocol):
    """An open WebSocket, the same on both ends. Text messages arrive as str, binary ones as bytes."""

    protocol: str

    async def receive(self) -> bytes | str | None:
        """The next message, or None when the other side has closed."""
        ...

    async def send(self, data: bytes | str) -> None:
        """Send one message; waits while the peer reads slowly. Raises ConnectionError once closed."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with that code; a second call does nothing. 1006 means: without the closing handshake."""
        ...

    @property
    def close_code(self) -> int | None:
        """The code that the connection was closed with, once it is; 1006 when it just ended."""
        ...


@dataclass(slots=True)
class Upgrade:
    """The answer that turns the connection into a WebSocket with `protocol` and hands it to `run`."""

    protocol: str
    run: Callable[[WebSocket], Awaitable[None]]
    headers: Mapping[str, str] = field(default_factory=dict)


async def _no_websocket(_: WebSocket) -> None:
    raise AssertionError("the connection does not become a WebSocket")


async def _nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Leave the connection at once."""


@dataclass(slots=True)
class RawUpgrade(Upgrade):
    """The answer that turns the connection into one of another protocol: `run_raw` has its bytes, until it returns."""

    run: Callable[[WebSocket], Awaitable[None]] = _no_websocket
    run_raw: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = _nothing


Answer = Response | Upgrade
Handler = Callable[[Request], Awaitable[Answer]]
