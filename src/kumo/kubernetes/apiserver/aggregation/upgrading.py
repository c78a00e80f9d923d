"""A connection passed through to an aggregated server as it is, for protocols other than WebSocket (SPDY's streams)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from http.client import HTTPException, parse_headers
from io import BytesIO

from multidict import CIMultiDict

from kumo.api.errors import too_large
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.aggregation.forwarding import quoted_path, request_headers, unreachable
from kumo.machinery.http import Answer, BodyTooLarge, RawUpgrade, Request, Response
from kumo.machinery.relay import until_first

_LARGEST_HEAD = 1 << 16
_PIECE = 1 << 16
_CONNECT = 10.0
_ANSWER = 30.0
_LARGEST_REFUSAL = 1 << 20
_LARGEST_BODY = 1 << 20
_DROPPED = frozenset(
    ("connection", "upgrade", "transfer-encoding", "content-length", "content-type", "keep-alive", "date")
)


class NoAnswer(ConnectionError):
    """The backend closed the connection, or what it said is no HTTP."""


async def forward_upgrade(
    where: tuple[str, int], name: str, tls: ssl.SSLContext, request: Request, user: UserInfo
) -> Answer:
    """The answer of the server at `where`, whose certificate has `name`: the upgrade, or what else it says.

    503 as text when it can't be reached. Raises 404 for a path with dots, 413.
    """
    target = quoted_path(request) + (f"?{request.query_string}" if request.query_string else "")
    headers = request_headers(request.headers, user, request.remote)
    try:
        body = await request.read(_LARGEST_BODY)
    except BodyTooLarge:
        raise too_large("the body of a request that asks for another protocol may have 1 MiB") from None
    try:
        return await _ask(where, name, tls, request, target, headers, body)
    except ConnectionError as error:
        return unreachable(error)


async def _ask(
    where: tuple[str, int],
    name: str,
    tls: ssl.SSLContext,
    request: Request,
    target: str,
    headers: CIMultiDict[str],
    body: bytes,
) -> Answer:
    protocol = request.wanted_protocol
    try:
        async with asyncio.timeout(_CONNECT):
            reader, writer = await asyncio.open_connection(*where, ssl=tls, server_hostname=name, limit=_LARGEST_HEAD)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
    kept = False
    try:
        writer.write(_head(name, request.method, target, headers, protocol, len(body)) + body)
        async with asyncio.timeout(_ANSWER):
            status, found = await _answer(reader)
            if status != 101:
                return await _refusal(reader, status, found)
        kept = True
    except TimeoutError as error:
        raise ConnectionError("it did not answer in time") from error
    finally:
        if not kept:
            writer.close()

    async def relay(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            await until_first(_carry(client, writer), _carry(reader, back))
        finally:
            writer.close()

    shown = {k: v for k, v in found.items() if k not in _DROPPED}
    return RawUpgrade(found.get("upgrade") or protocol, headers=shown, run_raw=relay)


def _head(name: str, method: str, target: str, headers: CIMultiDict[str], protocol: str, length: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {name}", "Connection: Upgrade", f"Upgrade: {protocol}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    if length:
        lines.append(f"Content-Length: {length}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ConnectionError("a header has a line break in it")
    return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape")


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status and the headers (lower case; repeated ones joined)."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        status = int(line.split(b" ", 2)[1])
        found: dict[str, str] = {}
        for key, value in parse_headers(BytesIO(rest)).items():
            name = key.lower()
            found[name] = f"{found[name]}, {value}" if name in found else value
        return status, found
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError, HTTPException) as error:
        raise NoAnswer(
            "EOF" if isinstance(error, asyncio.IncompleteReadError) else "malformed HTTP response"
        ) from error


async def _refusal(reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> Response:
    """An answer that is no upgrade, with its body."""
    shown = {k: v for k, v in headers.items() if k not in _DROPPED}
    body = b""
    if status not in (204, 304):
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = b"".join([piece async for piece in _chunks(reader)])
        else:
            length = headers.get("content-length", "")
            wanted = min(int(length), _LARGEST_REFUSAL) if length.isdigit() else _LARGEST_REFUSAL
            while len(body) < wanted and (piece := await reader.read(wanted - len(body))):
                body += piece
    return Response(status, body, headers.get("content-type", ""), shown)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    total = 0
    while True:
        try:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            total += size
            if not size or total > _LARGEST_REFUSAL:
                return
            yield (await reader.readexactly(size + 2))[:-2]
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends; a side that reads slowly slows the other."""
    while piece := await source.read(_PIECE):
        target.write(piece)
        await target.drain()
