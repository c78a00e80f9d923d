"""Clients that ask for much and read nothing: what each costs is bounded, and the others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kumo.api.resources import CONFIGMAPS
from kumo.machinery import tls
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
_CLIENTS = 12
_OBJECTS = 16
_EACH = 4 << 20
"""A client's share of memory: what is on its way to it, and that once more as TLS has it. The list is four times it."""


@contextlib.asynccontextmanager
async def asking(server: RunningApiServer, query: str) -> AsyncIterator[asyncio.StreamReader]:
    """A connection that asks for all config maps, and then takes what a small buffer holds."""
    assert server.ca is not None
    context = tls.client_context(ca=server.ca)
    context.load_cert_chain(server.pki / "admin.crt", server.pki / "admin.key")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    port = int(server.url.rpartition(":")[2])
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=plain, ssl=context, server_hostname="localhost", limit=4096)
    try:
        writer.write(f"GET /api/v1/configmaps?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(20):
            assert b" 200 " in await reader.readline()
        yield reader
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


@pytest.mark.parametrize("query", ["", "watch=true", "labelSelector=a%3Db"])
async def test_clients_that_never_read_are_bounded(tmp_path: Path, query: str) -> None:
    async with running_apiserver(tmp_path, https=True) as server:
        for number in range(_OBJECTS):
            meta = {"name": f"c{number}", "labels": {"a": "b"}}
            await server.client.create(CONFIGMAPS, {"metadata": meta, "data": {"a": "x" * 1_000_000}}, "default")
        await server.client.list(CONFIGMAPS)
        tracemalloc.start()
        try:
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(asking(server, query))
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(_CLIENTS):
                    await stack.enter_async_context(asking(server, query))
                for _ in range(50):
                    await server.client.get(CONFIGMAPS, "c1", "default")
                gc.collect()
                grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < _CLIENTS * _EACH, f"{grown / _CLIENTS / _EACH:.1f} MiB a client"
