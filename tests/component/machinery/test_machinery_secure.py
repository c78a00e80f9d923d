"""TLS connections of the listener: every byte both ways, ends that lose nothing, clients that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from kumo.machinery import tls
from kumo.machinery.http import Request, Response
from kumo.machinery.listener import Limits, Listener

pytestmark = pytest.mark.component
_PATIENCE = 20.0


def secured(wire, listener: Listener) -> ssl.SSLSocket:
    """A blocking client: it reads and writes only when told to."""
    plain = socket.create_connection(("127.0.0.1", listener.port), timeout=_PATIENCE)
    return tls.client_context(ca=wire.ca.files.cert).wrap_socket(plain, server_hostname="localhost")


def answer_of(client: ssl.SSLSocket) -> tuple[bytes, bytes]:
    """The head and the body, up to the end of the connection."""
    found = b"".join(iter(lambda: client.recv(1 << 20), b""))
    top, _, body = found.partition(b"\r\n\r\n")
    return top, body


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_every_byte_arrives_both_ways_however_slowly_it_is_read(wire, version: ssl.TLSVersion) -> None:
    sizes = (1, 100, 16384, 16385, 1 << 20, 3 << 20)
    sent = [os.urandom(size) for size in sizes]

    async def echo(request: Request) -> Response:
        whole = await request.read(1 << 24)
        bounds = [0]
        for size in sizes:
            bounds.append(bounds[-1] + size)
        return Response(200, [whole[a:b] for a, b in pairwise(bounds)])

    def talk() -> bytes:
        context = tls.client_context(ca=wire.ca.files.cert)
        context.maximum_version = version
        plain = socket.create_connection(("127.0.0.1", listener.port), timeout=_PATIENCE)
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {sum(sizes)}\r\n\r\n"
            client.sendall(head.encode())
            for part in sent:
                client.sendall(part)
            threading.Event().wait(0.3)  # The answer is longer than what sockets hold.
            top, body = answer_of(client)
            assert top.startswith(b"HTTP/1.1 200 ")
            return body

    async with wire.listener(echo) as listener:
        body = await asyncio.to_thread(talk)
    assert hashlib.sha256(body).digest() == hashlib.sha256(b"".join(sent)).digest()


async def test_who_is_refused_while_sending_hears_why(wire) -> None:
    async def refuse(_: Request) -> Response:
        return Response(413, b"too much")

    def talk() -> bytes:
        with secured(wire, listener) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(20):
                client.sendall(b"x" * 65536)
            return client.recv(65536)

    async with wire.listener(refuse, limits=Limits(linger=0.2), grace=0.1) as listener:
        assert (await asyncio.to_thread(talk)).startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_reads_nothing_is_cut_off(wire) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    async def answer(_: Request) -> Response:
        return Response(200, endless())

    async with wire.listener(answer, limits=Limits(stall=0.3), grace=0.1) as listener:
        client = await asyncio.to_thread(secured, wire, listener)
        with client:
            await asyncio.to_thread(client.sendall, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(_PATIENCE):
                await ended.wait()


async def test_a_client_that_vanishes_ends_its_stream(wire) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def watching() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def answer(_: Request) -> Response:
        return Response(200, watching())

    async with wire.listener(answer, grace=0.1) as listener:
        client = await asyncio.to_thread(secured, wire, listener)
        await asyncio.to_thread(client.sendall, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(_PATIENCE):
            await begun.wait()
            socket.socket.shutdown(client, socket.SHUT_RDWR)  # No farewell of TLS.
            client.close()
            await ended.wait()


async def test_handshakes_that_do_not_go_on_are_ended_and_hold_nobody_up(wire) -> None:
    async def plain(_: Request) -> Response:
        return Response(200, b"here")

    async with wire.listener(plain, limits=Limits(handshake=0.3), grace=0.1) as listener:
        silent = [socket.create_connection(("127.0.0.1", listener.port), timeout=_PATIENCE) for _ in range(20)]
        with contextlib.ExitStack() as stack:
            for each in silent:
                stack.enter_context(each)
            silent[0].sendall(b"\x16\x03\x01\x02\x00")  # The beginning of a record.
            client = stack.enter_context(await asyncio.to_thread(secured, wire, listener))
            await asyncio.to_thread(client.sendall, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await asyncio.to_thread(answer_of, client))[1] == b"here"
            for each in silent:
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.to_thread(each.recv, 1) == b""


async def test_the_end_of_the_server_is_not_held_up_by_those_who_do_not_shake_hands(wire) -> None:
    async def plain(_: Request) -> Response:
        return Response(200)

    async with asyncio.timeout(_PATIENCE):
        async with wire.listener(plain, grace=0.1) as listener:
            silent = socket.create_connection(("127.0.0.1", listener.port))
            await asyncio.to_thread(lambda: secured(wire, listener).close())
        with silent:
            silent.settimeout(_PATIENCE)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.to_thread(silent.recv, 1) == b""
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", listener.port), timeout=1).close()


async def test_clients_may_not_begin_the_handshake_again(wire) -> None:
    assert tls.server_context(wire.server).options & ssl.OP_NO_RENEGOTIATION
