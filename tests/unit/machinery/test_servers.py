"""Which of several servers is asked, by hand and by a client whose servers die."""

from __future__ import annotations

import asyncio

import pytest

from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.listener import Listener
from kumo.machinery.servers import Servers
from kumo.machinery.transport import HttpTransport

A, B, C = (f"https://192.0.2.{n}:6443" for n in range(3))


@pytest.mark.unit
def test_the_next_one_is_asked_when_one_fails() -> None:
    turned: list[tuple[str, str]] = []
    servers = Servers(f"{A}/", [B, A, C], lambda *turn: turned.append(turn))
    assert servers.urls == (A, B, C) and servers.current == A
    assert servers.failed(B) and servers.current == A, "nobody asks it"
    assert servers.failed(A) and servers.current == B
    assert servers.failed(A) and servers.current == B, "another transport noticed the same"
    assert servers.failed(B) and servers.failed(C) and servers.current == A
    assert turned == [(A, B), (B, C), (C, A)]
    assert not Servers(A).failed(A)


@pytest.mark.unit
def test_what_there_is_changes() -> None:
    servers = Servers(A, [B])
    servers.failed(A)
    assert servers.know([C, B]) and servers.current == B, "it answers: there is no reason to leave it"
    assert not servers.know([C, B])
    assert servers.know([C]) and servers.current == A and servers.urls == (A, C)
    assert servers.know([]) and servers.urls == (A,)


class Server:
    """Says its name to whoever asks; `/watch` does so for ever."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.listener = Listener(self._answer, port=0, name=name, grace=0.01)

    async def _answer(self, request: Request) -> Answer:
        if request.path != "/watch":
            return Response(200, self.name.encode(), "text/plain")

        async def chunks():  # type: ignore[no-untyped-def]
            while True:
                yield self.name.encode()
                await asyncio.sleep(0.05)

        return Response(200, chunks(), "text/plain")


@pytest.mark.component
async def test_a_client_turns_to_the_server_that_lives() -> None:
    one, two = Server("one"), Server("two")
    for server in (one, two):
        await server.listener.start()
    servers = Servers(one.listener.url, [two.listener.url])
    first, second = (HttpTransport(one.listener.url, servers=servers) for _ in range(2))
    try:
        async with asyncio.timeout(60):
            assert (await first.request("GET", "/")).body == b"one"
            async with second.stream("GET", "/watch") as (_, chunks):
                assert await anext(chunks) == b"one"
                await one.listener.stop()
                with pytest.raises((ConnectionError, StopAsyncIteration)):
                    while True:
                        await anext(chunks)
            # Nobody sees that the first one is gone; what was under way elsewhere was told.
            assert (await first.request("POST", "/", body=b"x")).body == b"two"
            async with second.stream("GET", "/watch") as (_, chunks):
                assert await anext(chunks) == b"two"
            assert servers.current == two.listener.url == first.base_url
            await two.listener.stop()
            with pytest.raises(ConnectionError, match="can't be reached"):
                await first.request("GET", "/")
    finally:
        for transport in (first, second):
            await transport.close()
        for server in (one, two):
            await server.listener.stop()
