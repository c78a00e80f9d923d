"""The in-process transport and its WebSockets behave as the network's do; the client over them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from kumo.api.errors import StatusError, not_found
from kumo.api.resources import CONFIGMAPS
from kumo.api.users import UserInfo
from kumo.machinery.client import Client, Reply, raise_for_status
from kumo.machinery.http import Answer, BodyTooLarge, Request, Response, Upgrade, WebSocket
from kumo.machinery.transport import InProcessTransport
from kumo.machinery.websocket import websocket_pair

pytestmark = pytest.mark.unit


async def test_requests_carry_user_headers_query_and_body() -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> Answer:
        seen.append(request)
        return Response(201, [b"a", b"b"], "text/plain", {"X-Word": "v"})

    transport = InProcessTransport(handler, UserInfo("alice"))
    reply = await transport.request("POST", "/p", query="a=1&a=2&b=", headers={"X-Mine": "1"}, body=b"body")
    assert reply == Reply(201, {"x-word": "v", "content-type": "text/plain"}, b"ab")
    (request,) = seen
    assert (request.method, request.path, request.headers["x-mine"]) == ("POST", "/p", "1")
    assert request.user == UserInfo("alice")
    assert request.query == {"a": "1", "b": ""}
    assert request.query_list == [("a", "1"), ("a", "2"), ("b", "")]
    assert await request.read(10) == b"body"
    with pytest.raises(BodyTooLarge):
        await request.read(3)


async def test_refusals_and_failures_are_answers() -> None:
    async def handler(request: Request) -> Answer:
        if request.path == "/api/v1/namespaces/ns/configmaps/x":
            raise not_found("", "configmaps", "x")
        raise RuntimeError("inner words")

    transport = InProcessTransport(handler)
    with pytest.raises(StatusError) as refusal:
        await Client(transport).get(CONFIGMAPS, "x", "ns")
    assert refusal.value.message == 'configmaps "x" not found'
    reply = await transport.request("GET", "/fails")
    assert reply.status == 500
    assert b"inner words" not in reply.body


async def test_leaving_a_stream_ends_its_iterator() -> None:
    ended = False

    async def handler(_: Request) -> Answer:
        async def endless() -> AsyncIterator[bytes]:
            nonlocal ended
            try:
                while True:
                    yield b"x"
            finally:
                ended = True

        return Response(200, endless())

    async with InProcessTransport(handler).stream("GET", "/") as (status, chunks):
        assert (status, await anext(chunks)) == (200, b"x")
    assert ended


async def test_websocket_both_ways_and_its_refusal() -> None:
    ended = asyncio.Event()

    async def handler(request: Request) -> Answer:
        if request.path == "/no":
            raise not_found("", "pods", "x")
        assert request.wants_websocket

        async def run(ws: WebSocket) -> None:
            while (message := await ws.receive()) is not None:
                await ws.send(message)
            ended.set()

        return Upgrade(request.websocket_protocols[-1], run)

    transport = InProcessTransport(handler)
    async with transport.websocket("/", protocols=("a", "b")) as ws:
        assert ws.protocol == "b"
        await ws.send(b"1")
        await ws.send("2")
        assert [await ws.receive(), await ws.receive()] == [b"1", "2"]
    assert ended.is_set()
    with pytest.raises(StatusError, match='pods "x" not found'):
        async with transport.websocket("/no"):
            raise AssertionError
    assert (await transport.request("GET", "/")).status == 500


async def test_a_pair_holds_a_fast_sender_back_and_delivers_what_was_sent_before_closing() -> None:
    one, other = websocket_pair("p")
    sent = 0

    async def flood() -> None:
        nonlocal sent
        for _ in range(64):
            await one.send(b"x" * 65536)
            sent += 1
        await one.close(4001)

    task = asyncio.create_task(flood())
    await asyncio.sleep(0.01)
    assert 0 < sent < 64
    received = 0
    while (message := await other.receive()) is not None:
        received += len(message)
    await task
    assert received == 64 * 65536
    assert other.close_code == 4001  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        await other.send(b"late")
    assert await one.receive() is None


async def test_client_lists_fill_in_kinds_and_pages() -> None:
    async def handler(request: Request) -> Answer:
        assert request.query == {"limit": "1", "labelSelector": "a=b", "continue": "t"}
        meta = {"resourceVersion": "7", "continue": "next"}
        items = [{"metadata": {"name": "x"}}]
        body = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": meta, "items": items}
        return Response(200, json.dumps(body).encode())

    found = await Client(InProcessTransport(handler)).list(
        CONFIGMAPS, "ns", label_selector="a=b", limit=1, continue_token="t"
    )
    assert (found.resource_version, found.continue_token) == ("7", "next")
    assert found.items == [{"metadata": {"name": "x"}, "apiVersion": "v1", "kind": "ConfigMap"}]


def test_answers_without_a_status_object_raise_their_text() -> None:
    with pytest.raises(StatusError) as error:
        raise_for_status(Reply(502, {}, b"bad gateway\n"))
    assert (error.value.code, error.value.message) == (502, "bad gateway")
    raise_for_status(Reply(399, {}, b""))
