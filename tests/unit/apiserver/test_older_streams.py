"""Streams for clients of older WebSocket protocols: exec's channels in plain and base64, logs as messages."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest

from kumo.kubernetes.apiserver.kubelet_proxy.log_socket import BASE64, BINARY, chosen, log_upgrade
from kumo.kubernetes.apiserver.kubelet_proxy.older_channels import (
    FIRST,
    FIRST_BASE64,
    V4_BASE64,
    OlderChannels,
    as_older,
)
from kumo.machinery.http import Upgrade, WebSocket

pytestmark = pytest.mark.unit


class Socket:
    """A client: `sent` to it, and what it says."""

    def __init__(self, *says: bytes | str, protocol: str = "") -> None:
        self.protocol = protocol
        self.says = list(says)
        self.sent: list[bytes | str] = []
        self.close_code: int | None = None

    async def receive(self) -> bytes | str | None:
        return self.says.pop(0) if self.says else None

    async def send(self, data: bytes | str) -> None:
        self.sent.append(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.close_code = code


FAILED = b'\x03{"status":"Failure","message":"exit 7"}'
WENT_WELL = b'\x03{"metadata":{},"status":"Success"}'


def text(channel: int, data: bytes) -> str:
    return str(channel) + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (FIRST, [b"\x01out", b"\x01", b"\x03exit 7"]),
        (FIRST_BASE64, [text(1, b"out"), text(1, b""), text(3, b"exit 7")]),
        (V4_BASE64, [text(1, b"out"), text(1, b""), text(3, WENT_WELL[1:]), text(3, FAILED[1:])]),
    ],
)
async def test_what_the_node_says(protocol: str, expected: list[bytes | str]) -> None:
    client = Socket()
    channels = OlderChannels(client, protocol)
    for message in (b"\x01out", b"\x01", WENT_WELL, FAILED):
        await channels.send(message)
    assert client.sent == expected


async def test_what_the_client_says() -> None:
    channels = OlderChannels(Socket(text(0, b"in\n"), "0not base64", "x", b""), FIRST_BASE64)
    assert [await channels.receive() for _ in range(4)] == [b"\x00in\n", b"", b"", b""]
    assert await channels.receive() is None
    plain = OlderChannels(Socket(b"\x00in"), FIRST)
    assert await plain.receive() == b"\x00in"
    await plain.close(1001)
    assert plain.close_code == 1001


async def test_the_session_is_the_same() -> None:
    async def run(socket: WebSocket) -> None:
        await socket.send(b"\x01well")

    client = Socket()
    upgrade = as_older(FIRST_BASE64, Upgrade("v4.channel.k8s.io", run))
    assert upgrade.protocol == FIRST_BASE64
    await upgrade.run(client)
    assert client.sent == [text(1, b"well")]


@pytest.mark.parametrize(
    ("offered", "expected"),
    [([], ""), ([BINARY], BINARY), (["x", BASE64], BASE64), (["v4.channel.k8s.io"], None)],
)
def test_a_log_has_its_own_protocols(offered: list[str], expected: str | None) -> None:
    assert chosen(offered) == expected


@pytest.mark.parametrize(
    ("protocol", "expected"), [("", [b"", b"one\n"]), (BINARY, [b"", b"one\n"]), (BASE64, ["", "b25lCg=="])]
)
async def test_a_log_in_messages(protocol: str, expected: list[bytes | str]) -> None:
    closed = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"one\n"
        finally:
            closed.set()

    client = Socket()
    await log_upgrade(protocol, body()).run(client)
    assert client.sent == expected
    assert client.close_code == 1000
    assert closed.is_set()
