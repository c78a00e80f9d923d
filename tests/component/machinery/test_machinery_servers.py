"""A client of several servers, which die."""

from __future__ import annotations

import asyncio

import pytest

from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.listener import Listener
from kumo.machinery.servers import Servers
from kumo.machinery.transport import HttpTransport

pytestmark = pytest.mark.component


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
