"""The listener over real sockets with real certificates."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kumo.api.errors import StatusError, forbidden
from kumo.machinery import tls
from kumo.machinery.http import Answer, Request, Response, Upgrade, WebSocket
from kumo.machinery.listener import Limits, Listener, ListenError
from kumo.machinery.transport import HttpTransport
from kumo.machinery.websocket import ABNORMAL

pytestmark = pytest.mark.component


async def echo(request: Request) -> Answer:
    facts = {
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "user": request.user.name if request.user else None,
        "groups": list(request.user.groups) if request.user else [],
        "headers": dict(request.headers),
        "body": (await request.read(1 << 20)).decode(),
        "remote": request.remote,
        "scheme": request.scheme,
    }
    return Response(200, json.dumps(facts).encode())


async def raw(listener: Listener, data: bytes, *, tls_context: ssl.SSLContext | None = None) -> bytes:
    """Send bytes as they are, read until the server closes (or half a second of silence)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=tls_context)
    writer.write(data)
    found = b""
    with contextlib.suppress(TimeoutError):
        while chunk := await asyncio.wait_for(reader.read(65536), 0.5):
            found += chunk
    writer.close()
    return found


async def test_client_certificate_becomes_the_user(wire) -> None:
    async with wire.listener(echo) as listener:
        answer = await wire.transport(listener).request("GET", "/a%20b", query="x=1&y")
        facts = json.loads(answer.body)
        assert answer.status == 200
        assert facts["user"] == "alice"
        assert facts["groups"] == ["dev", "ops", "system:authenticated"]
        assert (facts["path"], facts["query"], facts["scheme"]) == ("/a b", "x=1&y", "https")
        assert facts["remote"] == "127.0.0.1"


async def test_no_certificate_is_nobody_and_a_foreign_one_is_refused(wire, tmp_path) -> None:
    async with wire.listener(echo) as listener:
        answer = await wire.transport(listener, certificate=False).request("GET", "/")
        assert json.loads(answer.body)["user"] is None
        other = tls.ensure_ca(tmp_path, "other")
        foreign = tls.ensure_client_certificate(other, tmp_path, "mallory", "admin", ["system:masters"])
        stranger = HttpTransport(listener.url, ca=wire.ca.files.cert, cert=foreign.cert, key=foreign.key)
        with pytest.raises(ConnectionError):
            await stranger.request("GET", "/")
        await stranger.close()


async def test_bodies_of_all_forms(wire) -> None:
    async def handler(request: Request) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            for word in (b"one ", b"", b"two ", b"three"):
                yield word

        return {
            "/bytes": Response(200, b"x" * 100_000),
            "/list": Response(200, [b"[", b"1," * 50_000, b"2]"]),
            "/short-list": Response(200, [b"[", b"1", b"]"]),
            "/stream": Response(200, chunks(), "text/plain"),
            "/sized": Response(200, chunks(), "text/plain", {"Content-Length": "13"}),
            "/empty": Response(204),
            "/headers": Response(299, b"{}", "text/x", {"X-Word": "value"}),
        }[request.path]

    async with wire.listener(handler) as listener:
        transport = wire.transport(listener)

        async def body(path: str, method: str = "GET") -> bytes:
            return (await transport.request(method, path)).body

        assert await body("/bytes") == b"x" * 100_000
        assert await body("/list") == b"[" + b"1," * 50_000 + b"2]"
        assert await body("/short-list") == b"[1]"
        assert await body("/stream") == b"one two three"
        sized = await transport.request("GET", "/sized")
        assert sized.body == b"one two three"
        assert sized.headers["content-length"] == "13"
        assert (await transport.request("GET", "/empty")).status == 204
        answer = await transport.request("GET", "/headers")
        assert (answer.status, answer.headers["x-word"], answer.headers["content-type"]) == (299, "value", "text/x")
        for path in ("/bytes", "/list", "/stream", "/sized"):
            assert await body(path, "HEAD") == b""
        assert (await transport.request("HEAD", "/bytes")).headers["content-length"] == "100000"
        assert await body("/bytes") == b"x" * 100_000


async def test_refusals_and_failures_are_status_objects_without_a_trace(wire) -> None:
    async def handler(request: Request) -> Answer:
        if request.path == "/forbidden":
            raise forbidden("", "pods", "x", "because")
        raise RuntimeError("secret inner words")

    async with wire.listener(handler) as listener:
        transport = wire.transport(listener)
        refusal = await transport.request("GET", "/forbidden")
        assert refusal.status == 403
        assert json.loads(refusal.body)["reason"] == "Forbidden"
        failure = await transport.request("GET", "/other")
        assert failure.status == 500
        assert json.loads(failure.body)["reason"] == "InternalError"
        assert b"secret" not in failure.body
        assert b"Traceback" not in failure.body


async def test_malformed_requests_get_400(wire) -> None:
    async with Listener(echo) as listener:
        answer = await raw(listener, b"GARBAGE\r\n\r\n")
        assert answer[8:12] == b" 400"
        assert b'"kind":"Status"' in answer
        assert b"GARBAGE" not in answer
        assert b"Traceback" not in answer


async def test_limits_of_line_and_headers(wire) -> None:
    async with Listener(echo, limits=Limits(line=1000, header=1000, headers=10)) as listener:
        assert (await raw(listener, b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 2000)))[8:12] == b" 431"
        long_header = b"GET / HTTP/1.1\r\nx: %s\r\n\r\n" % (b"x" * 2000)
        assert (await raw(listener, long_header))[8:12] == b" 431"
        many = b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(50)) + b"\r\n"
        assert (await raw(listener, many))[8:12] == b" 400"


async def test_keep_alive_pipelining_and_http10(wire) -> None:
    async with Listener(echo) as listener:
        two = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await raw(listener, two)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert b"Connection: close" in answer
        old = await raw(listener, b"GET /old HTTP/1.0\r\n\r\n")
        assert old.startswith(b"HTTP/1.0 200 OK")
        assert b"Connection: close" in old


async def test_repeated_headers_are_joined(wire) -> None:
    async with Listener(echo) as listener:
        data = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nImpersonate-Group: a\r\nImpersonate-Group: b\r\n\r\n"
        answer = await raw(listener, data)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]["impersonate-group"] == "a, b"
        twice = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"
        answer = await raw(listener, twice)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]["authorization"] == "a"


async def test_expect_continue_is_said_only_when_the_body_is_read(wire) -> None:
    async def handler(request: Request) -> Answer:
        if request.path == "/refuse":
            raise forbidden("", "pods", "", "no")
        return Response(200, await request.read(1000))

    async with Listener(handler, limits=Limits(linger=0.2)) as listener:
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(head % b"/take")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        refused = await raw(listener, head % b"/refuse")
        assert refused.startswith(b"HTTP/1.1 403")
        assert b"Connection: close" in refused


async def test_an_upload_of_half_a_gigabyte_keeps_memory_flat(wire) -> None:
    async def handler(request: Request) -> Answer:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return Response(200, str(size).encode())

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(512):
            yield b"\0" * (1 << 20)

    async with wire.listener(handler) as listener:
        transport = wire.transport(listener)
        await transport.request("POST", "/", body=b"warm up")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await transport.request("POST", "/", body=pieces())
        assert answer.body == str(512 << 20).encode()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


async def test_a_slow_reader_holds_the_producer_back(wire, eventually) -> None:
    produced = 0

    async def handler(_: Request) -> Answer:
        async def endless() -> AsyncIterator[bytes]:
            nonlocal produced
            while True:
                produced += 1
                yield b"x" * 65536

        return Response(200, endless())

    async with wire.listener(handler) as listener:
        transport = wire.transport(listener)
        async with transport.stream("GET", "/") as (_, chunks):
            await anext(chunks)
            last = -1
            while last != produced:
                last = produced
                await asyncio.sleep(0.1)
            assert produced < 400


async def test_clients_that_vanish_amid_an_endless_answer_do_not_hold_the_server(wire, eventually) -> None:
    """What is written to a reset connection goes nowhere at once: nothing holds the producer back by itself."""
    running = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal running
        running += 1
        try:
            while True:
                yield b"x" * (1 << 18)
        finally:
            running -= 1

    async def handler(request: Request) -> Answer:
        return Response(200, endless()) if request.path == "/endless" else await echo(request)

    def client(port: int, chunks: int) -> None:
        tcp = socket.create_connection(("127.0.0.1", port), timeout=30)
        wrapped = tls.client_context(ca=wire.ca.files.cert).wrap_socket(tcp, server_hostname="localhost")
        wrapped.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(chunks):
            assert wrapped.recv(1 << 18)
        wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wrapped.close()

    async with wire.listener(handler) as listener:
        other = wire.transport(listener)
        for chunks in range(40):
            await asyncio.to_thread(client, listener.port, 20 * chunks)
            assert (await other.request("GET", "/")).status == 200
        await eventually(lambda: running == 0, 30.0)


async def test_a_client_that_goes_away_ends_its_watch_and_its_handler(wire, eventually) -> None:
    ended: list[str] = []

    async def handler(request: Request) -> Answer:
        if request.path == "/slow":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("handler")
                raise

        async def events() -> AsyncIterator[bytes]:
            try:
                yield b"first\n"
                await asyncio.Event().wait()
            finally:
                ended.append("iterator")

        return Response(200, events())

    async with wire.listener(handler) as listener:
        transport = wire.transport(listener)
        async with transport.stream("GET", "/watch") as (_, chunks):
            assert await anext(chunks) == b"first\n"
        await eventually(lambda: "iterator" in ended)
        call = asyncio.create_task(transport.request("GET", "/slow"))
        await asyncio.sleep(0.05)
        call.cancel()
        await eventually(lambda: "handler" in ended)


async def test_a_write_that_has_begun_is_finished_without_its_client(wire, eventually) -> None:
    steps: list[str] = []
    go_on = asyncio.Event()

    async def handler(request: Request) -> Answer:
        if request.path == "/upload":
            try:
                await request.read(1 << 20)
            except ConnectionError:
                steps.append("upload broken")
                raise
        steps.append("first")
        await go_on.wait()
        steps.append("second")
        return Response(201)

    async with wire.listener(handler) as listener:
        call = asyncio.create_task(wire.transport(listener).request("POST", "/"))
        await eventually(lambda: steps == ["first"])
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(0.05)
        go_on.set()
        await eventually(lambda: steps == ["first", "second"])
        steps.clear()
        _, writer = await asyncio.open_connection(
            "127.0.0.1", listener.port, ssl=tls.client_context(ca=wire.ca.files.cert)
        )
        writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        writer.close()
        await eventually(lambda: steps == ["upload broken"])


async def test_a_stream_that_fails_is_cut_off_not_ended(wire) -> None:
    async def handler(_: Request) -> Answer:
        async def broken() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError("broken")

        return Response(200, broken())

    async with wire.listener(handler) as listener:
        with pytest.raises(ConnectionError):
            await wire.transport(listener).request("GET", "/")


async def test_shutdown_ends_watches_cleanly_and_lets_requests_finish(wire) -> None:
    release = asyncio.Event()
    started = asyncio.Event()

    async def handler(request: Request) -> Answer:
        async def events() -> AsyncIterator[bytes]:
            yield b"one\n"
            await asyncio.Event().wait()

        if request.path == "/watch":
            return Response(200, events())
        started.set()
        await release.wait()
        return Response(200, b"finished")

    async with wire.listener(handler) as listener:
        transport, second = wire.transport(listener), wire.transport(listener)
        slow = asyncio.create_task(second.request("GET", "/slow"))
        await started.wait()
        async with transport.stream("GET", "/watch", query="watch=true") as (_, chunks):
            received = [await anext(chunks)]
            stopping = asyncio.create_task(listener.stop())
            received += [c async for c in chunks]
            assert received == [b"one\n"]
        with pytest.raises(ConnectionError):
            await transport.request("GET", "/watch")
        release.set()
        assert (await slow).body == b"finished"
        async with asyncio.timeout(2):
            await stopping


async def test_shutdown_cuts_off_what_outlives_the_grace_time(wire) -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def handler(_: Request) -> Answer:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with wire.listener(handler, grace=0.1) as listener:
        call = asyncio.create_task(wire.transport(listener).request("GET", "/"))
        await started.wait()
        async with asyncio.timeout(3):
            await listener.stop()
        assert cancelled.is_set()
        with pytest.raises(ConnectionError):
            await call


async def socket_echo(request: Request) -> Answer:
    async def run(ws: WebSocket) -> None:
        while (message := await ws.receive()) is not None:
            await ws.send(message)

    offered = request.websocket_protocols
    if "forbidden" in offered:
        raise forbidden("", "pods", "x", "no consoles today")
    return Upgrade(next((p for p in offered if p.startswith("v")), ""), run)


async def test_websocket_chooses_a_subprotocol_and_echoes(wire) -> None:
    async with wire.listener(socket_echo) as listener:
        transport = wire.transport(listener)
        async with transport.websocket("/", protocols=("unknown", "v5.channel.k8s.io", "v4.channel.k8s.io")) as ws:
            assert ws.protocol == "v5.channel.k8s.io"
            await ws.send(b"\x00bytes")
            assert await ws.receive() == b"\x00bytes"
            await ws.send("text")
            assert await ws.receive() == "text"
            await ws.send(b"y" * 3_000_000)
            assert await ws.receive() == b"y" * 3_000_000


async def test_websocket_refusal_carries_its_status(wire) -> None:
    async with wire.listener(socket_echo) as listener:
        transport = wire.transport(listener)
        with pytest.raises(StatusError) as refusal:
            async with transport.websocket("/", protocols=("forbidden",)):
                raise AssertionError
        assert (refusal.value.code, refusal.value.reason) == (403, "Forbidden")
        assert refusal.value.message == 'pods "x" is forbidden: no consoles today'
        answer = await transport.request("GET", "/")
        assert answer.status == 400
        assert json.loads(answer.body)["message"] == "Upgrade request required"


async def test_websocket_ends_on_both_sides(wire, eventually) -> None:
    ended = asyncio.Event()

    async def handler(request: Request) -> Answer:
        async def run(ws: WebSocket) -> None:
            if request.path == "/fail":
                raise RuntimeError("inner")
            if request.path == "/close":
                await ws.close(4000, "go")
                return
            assert await ws.receive() is None
            ended.set()

        return Upgrade("", run)

    async with wire.listener(handler) as listener:
        transport = wire.transport(listener)
        async with transport.websocket("/wait"):
            pass
        async with asyncio.timeout(2):
            await ended.wait()
        for path, code in (("/close", 4000), ("/fail", 1011)):
            async with transport.websocket(path) as ws:
                assert await ws.receive() is None
                assert ws.close_code == code
                with pytest.raises(ConnectionError):
                    await ws.send(b"late")


async def test_websocket_cut_off_without_a_handshake(wire) -> None:
    """What a peer sees as 1006: the last bytes arrive, and then the connection ends, at once and on its own."""

    async def handler(request: Request) -> Answer:
        async def run(ws: WebSocket) -> None:
            await ws.send(b"last words")
            await ws.close(ABNORMAL)
            await ws.close(1000)

        return Upgrade("", run)

    async with (
        wire.listener(handler) as listener,
        asyncio.timeout(2),
        wire.transport(listener).websocket("/") as ws,
    ):
        assert await ws.receive() == b"last words"
        assert await ws.receive() is None
        assert ws.close_code == ABNORMAL


async def test_websocket_closes_with_1001_at_shutdown(wire) -> None:
    async with wire.listener(socket_echo) as listener:
        async with wire.transport(listener).websocket("/") as ws:
            stopping = asyncio.create_task(listener.stop())
            assert await ws.receive() is None
            assert ws.close_code == 1001  # type: ignore[attr-defined]
        async with asyncio.timeout(2):
            await stopping


async def test_unix_socket_and_its_leftover(wire, tmp_path: Path) -> None:
    path = tmp_path / "s"
    leftover = socket.socket(socket.AF_UNIX)
    leftover.bind(str(path))
    leftover.close()
    async with Listener(echo, path=path):
        transport = HttpTransport("http://localhost", unix=path)
        facts = json.loads((await transport.request("GET", "/x")).body)
        assert (facts["path"], facts["scheme"], facts["user"]) == ("/x", "http", None)
        with pytest.raises(ListenError, match="taken"):
            await Listener(echo, path=path).start()
        await transport.close()
    assert not path.exists()


async def test_a_taken_port_is_one_clear_error(wire) -> None:
    async with Listener(echo) as listener:
        with pytest.raises(ListenError) as error:
            await Listener(echo, port=listener.port).start()
        assert f"127.0.0.1:{listener.port} is taken" in str(error.value)
        assert "--port" in str(error.value)


async def test_tls_is_required_and_modern(wire) -> None:
    async with wire.listener(echo) as listener:
        assert await raw(listener, b"GET / HTTP/1.1\r\n\r\n") == b""
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(wire.ca.files.cert)
        assert old.verify_mode == ssl.CERT_REQUIRED
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=old)
        assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()
