"""Connections to nodes, pods and services, and answers passed on while they come."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kubelet_proxy.links import LARGEST_PAGE, Detour, rewrite_page
from kumo.kubernetes.apiserver.kubelet_proxy.targets import Address
from kumo.machinery.client import Reply
from kumo.machinery.http import Answer, Request, Response, Upgrade, WebSocket
from kumo.machinery.relay import relay
from kumo.machinery.transport import HttpTransport

_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "date",
        "content-type",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-accept",
    )
)
_SECRET = frozenset(("authorization", "x-remote-user", "x-remote-group"))
_UNUSED_SECONDS = 10.0
_LARGEST_REFUSAL = 1 << 16


class Connections:
    """One transport for each address, kept; `tls` is how the API server proves itself to nodes."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._insecure = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._insecure.check_hostname = False
        self._insecure.verify_mode = ssl.CERT_NONE
        self._made: dict[tuple[Address, bool], HttpTransport] = {}

    def to(self, address: Address, *, node: bool) -> HttpTransport:
        """The transport to a node's listener, or to a pod or service (whose certificates nobody vouches for)."""
        key = (address, node)
        if key not in self._made:
            tls = (self._tls or self._insecure) if node else self._insecure
            secure = tls if address.scheme == "https" else None
            self._made[key] = HttpTransport(address.url, tls=secure, timeout=30.0, decompress=False)
        return self._made[key]

    async def close(self) -> None:
        """Let go of all connections."""
        made, self._made = self._made, {}
        await asyncio.gather(*(t.close() for t in made.values()))


class Held:
    """A body whose connection stays open until it is read to its end or let go."""

    def __init__(self, stack: AsyncExitStack, chunks: AsyncIterator[bytes]) -> None:
        self._stack = stack
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            await self._stack.aclose()
            raise

    async def aclose(self) -> None:
        """Let the connection go."""
        await self._stack.aclose()


def refusal_text(body: bytes) -> str:
    """What a refusal says: the message of a Status, or the text itself."""
    try:
        status: Object = msgspec.json.decode(body)
        return str(status["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body.decode(errors="replace").strip()


def unreachable(error: ConnectionError) -> StatusError:
    """500 with the transport's words: the node or pod can't be reached."""
    return StatusError(500, "", str(error))


async def pass_through(
    transport: HttpTransport, request: Request, path: str, query: str, *, own: Mapping[str, str] | None = None
) -> Answer:
    """Send the request on as it is and give back the answer as it comes, WebSockets included."""
    headers = {k: v for k, v in request.headers.items() if k not in _HOP and k not in _SECRET}
    headers.update(own or {})
    if request.wants_websocket:
        headers = {k: v for k, v in headers.items() if not k.startswith("sec-websocket")}
        return await open_websocket(transport, path, query, tuple(request.websocket_protocols), headers)
    if "content-type" in request.headers:
        headers["content-type"] = request.headers["content-type"]
    body = request.content if isinstance(request.content, bytes) else request.stream()
    stack = AsyncExitStack()
    try:
        head, chunks = await stack.enter_async_context(
            transport.exchange(request.method, path, query=query, headers=headers, body=body)
        )
    except ConnectionError as error:
        raise StatusError(503, "ServiceUnavailable", f"error trying to reach service: {error}") from error
    kept = {k: v for k, v in head.headers.items() if k not in _HOP}
    return Response(head.status, Held(stack, chunks), head.headers.get("content-type", ""), kept)


async def through_proxy(answer: Response, detour: Detour) -> Response:
    """The answer with its redirection, or the links of its page, leading through the proxy (upstream's `Transport`)."""
    headers = dict(answer.headers)
    if headers.get("location"):
        headers["location"] = detour.rewrite(headers["location"])
        return replace(answer, headers=headers)
    kind = answer.content_type.partition(";")[0].strip()
    body = answer.body
    if kind != "text/html" or not isinstance(body, Held):
        return answer
    page = b""
    try:
        async for chunk in body:
            page += chunk
            if len(page) > LARGEST_PAGE:
                return replace(answer, body=_resumed(page, body))
    except BaseException:
        await body.aclose()
        raise
    made = await asyncio.to_thread(rewrite_page, page, headers.get("content-encoding", ""), detour)
    headers.pop("content-length", None)
    return replace(answer, body=made, headers=headers)


async def _resumed(begun: bytes, rest: Held) -> AsyncIterator[bytes]:
    try:
        yield begun
        async for chunk in rest:
            yield chunk
    finally:
        await rest.aclose()


async def open_stream(transport: HttpTransport, path: str, query: str) -> tuple[Reply, Held]:
    """GET from a node: its answer's head and body. Raises StatusError when it can't be reached."""
    stack = AsyncExitStack()
    try:
        head, chunks = await stack.enter_async_context(transport.exchange("GET", path, query=query))
    except ConnectionError as error:
        raise unreachable(error) from error
    return head, Held(stack, chunks)


async def whole_refusal(body: Held) -> str:
    """The text of a refusal's body, at most 64 KiB of it."""
    found = b""
    try:
        async for chunk in body:
            found += chunk
            if len(found) > _LARGEST_REFUSAL:
                break
    finally:
        await body.aclose()
    return refusal_text(found)


async def open_websocket(
    transport: HttpTransport,
    path: str,
    query: str,
    protocols: tuple[str, ...],
    headers: Mapping[str, str] | None = None,
) -> Upgrade:
    """Open the WebSocket behind first, so that its refusal is still an HTTP answer; then pass messages both ways."""
    stack = AsyncExitStack()
    try:
        behind = await stack.enter_async_context(
            transport.websocket(path, query=query, protocols=protocols, headers=headers)
        )
    except ConnectionError as error:
        raise unreachable(error) from error

    # If the client's side of the handshake fails, `run` is never called: do not keep the connection then.
    async def close_unused() -> None:
        await asyncio.sleep(_UNUSED_SECONDS)
        await stack.aclose()

    unused = asyncio.create_task(close_unused(), name="unused WebSocket")

    async def run(client: WebSocket) -> None:
        unused.cancel()
        async with stack:
            await pump(client, behind)

    return Upgrade(behind.protocol, run)


async def pump(one: WebSocket, other: WebSocket) -> None:
    """Pass messages both ways until either side closes, then close the other."""
    try:
        await relay(one, other)
    finally:
        await asyncio.gather(one.close(), other.close(), return_exceptions=True)
