"""What slow, silent and many clients are allowed, and certificates that change while connections come."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest

from kumo.machinery import rotation, tls
from kumo.machinery.http import Request, Response
from kumo.machinery.listener import Limits, Listener

pytestmark = pytest.mark.component
_PATIENCE = 10.0


async def plain(request: Request) -> Response:
    return Response(200, await request.read(1 << 20), "text/plain")


@contextlib.asynccontextmanager
async def opened(listener: Listener) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def end_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(_PATIENCE):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


async def test_a_head_that_does_not_come_ends_the_connection() -> None:
    async with Listener(plain, limits=Limits(first=0.2), grace=0.1) as listener:
        for sent in (b"", b"GET / HTTP/1.1\r\nx: "):
            async with opened(listener) as (reader, writer):
                writer.write(sent)
                assert await end_of(reader) == b""


async def test_a_body_that_pauses_is_refused() -> None:
    async with Listener(plain, limits=Limits(body=0.2), grace=0.1) as listener, opened(listener) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        async with asyncio.timeout(_PATIENCE):
            assert b" 408 " in await reader.readline()


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_does_not_read_is_cut_off(streamed: bool) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    async def answer(_: Request) -> Response:
        return Response(200, endless() if streamed else [b"x" * (1 << 20)] * 64)

    async with Listener(answer, limits=Limits(stall=0.3), grace=0.1) as listener, opened(listener) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server = listener._server
        assert server is not None
        async with asyncio.timeout(_PATIENCE):
            if streamed:
                await ended.wait()
            while not server.connections:
                await asyncio.sleep(0.01)
            while any(c.transport is not None for c in server.connections):
                await asyncio.sleep(0.01)


async def test_too_many_connections_are_closed_and_the_others_served() -> None:
    async with contextlib.AsyncExitStack() as stack:
        listener = await stack.enter_async_context(Listener(plain, limits=Limits(connections=2), grace=0.1))
        first, second = [await stack.enter_async_context(opened(listener)) for _ in range(2)]
        for reader, writer in (first, second):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in await reader.readline()
        async with opened(listener) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await end_of(reader) == b""
        first[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(_PATIENCE):
            while b" 200 " not in await first[0].readline():
                pass


async def serial(port: int, ca: tls.Authority, trusted: tls.Authority, pair: tls.KeyPair | None = None) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = tls.client_context(ca=trusted.files.cert)
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 200 " in await reader.readline()
        found = writer.get_extra_info("peercert")
        return int(found["serialNumber"], 16)
    finally:
        writer.close()


async def test_new_connections_get_the_certificate_of_now(tmp_path) -> None:
    ca, other = tls.ensure_ca(tmp_path), tls.ensure_ca(tmp_path / "other")
    pair = tls.ensure_server_certificate(ca, tmp_path)
    client = tls.ensure_client_certificate(other, tmp_path / "other", "eve", "eve")
    trusted = tmp_path / "clients.crt"
    trusted.write_bytes(ca.pem)

    async def who(request: Request) -> Response:
        return Response(200, request.user.name.encode() if request.user else b"nobody")

    context = rotation.RotatingContext.of(pair, trusted)
    async with Listener(who, tls=context, grace=0.1) as listener:
        before = await serial(listener.port, ca, ca)
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await serial(listener.port, ca, ca, client)
        pair.key.write_text("half of a pair")
        assert await serial(listener.port, ca, ca) == before
        pair.cert.unlink()
        tls.ensure_server_certificate(ca, tmp_path)
        trusted.write_bytes(ca.pem + other.pem)
        after = await serial(listener.port, ca, ca)
        assert after != before
        assert await serial(listener.port, ca, ca, client) == after
