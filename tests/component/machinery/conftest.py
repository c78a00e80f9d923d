"""A CA with certificates, and a listener that serves whatever handler a test gives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from kumo.machinery import tls
from kumo.machinery.http import Handler
from kumo.machinery.listener import Listener
from kumo.machinery.transport import HttpTransport


class Wire:
    """Makes listeners and transports with one CA, and closes what a test leaves open."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = tls.ensure_ca(directory)
        self.server = tls.ensure_server_certificate(self.ca, directory)
        self.client = tls.ensure_client_certificate(self.ca, directory, "alice", "alice", ["dev", "ops"])
        self._open: list[HttpTransport] = []

    @asynccontextmanager
    async def listener(self, handler: Handler, **options: object) -> AsyncIterator[Listener]:
        context = tls.server_context(self.server, self.ca.files.cert)
        listener = Listener(handler, tls=context, **options)  # type: ignore[arg-type]
        async with listener:
            yield listener

    def transport(self, listener: Listener, *, certificate: bool = True, **options: object) -> HttpTransport:
        if certificate:
            options |= {"cert": self.client.cert, "key": self.client.key}
        made = HttpTransport(listener.url, ca=self.ca.files.cert, **options)  # type: ignore[arg-type]
        self._open.append(made)
        return made

    async def close(self) -> None:
        await asyncio.gather(*(t.close() for t in self._open))


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, object]:
    """Production runs on uvloop; the standard loop must do as well."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
async def wire(pki: Path) -> AsyncIterator[Wire]:
    made = Wire(pki)
    yield made
    await made.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    async def wait(condition: Callable[[], bool], timeout: float = 5.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.005)

    return wait
