"""A real haproxy: which way requests take, certificates by name, servers that move, new workers under load."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import aiohttp
import pytest

from kumo.api.objects import Key
from kumo.kubernetes.ingress import files
from kumo.kubernetes.ingress.backends import Backend, Server, commands, place
from kumo.kubernetes.ingress.certificates import Certificate
from kumo.kubernetes.ingress.config import IngressConfig
from kumo.kubernetes.ingress.engine import EngineError, Haproxy, processes
from kumo.kubernetes.ingress.routes import Rule, Target
from kumo.kubernetes.ingress.world import Plan
from kumo.machinery import tls
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.listener import Listener
from support.etcd import free_ports

pytestmark = pytest.mark.component

ONE, TWO = Target("n", "one", "80"), Target("n", "two", "http")
RULES = (
    Rule("a.com", "/foo", False, ONE),
    Rule("a.com", "/foo/bar", False, TWO),
    Rule("a.com", "/x", True, TWO),
    Rule("*.b.com", "/", False, ONE),
    Rule("c.b.com", "/own", False, TWO),
    Rule("", "/any", False, TWO),
)


def web(name: str) -> Listener:
    async def answer(request: Request) -> Answer:
        shown = f"{name} {request.path} {request.headers.get('x-forwarded-proto')}"
        return Response(200, shown.encode(), "text/plain")

    return Listener(answer, grace=0.1)


class Place:
    """haproxy before two servers."""

    def __init__(self, directory: Path, one: int, two: int) -> None:
        self.config = IngressConfig("node", "127.0.0.1", directory, *free_ports(2))
        self.ca = tls.ensure_ca(directory)
        self.default = tls.ensure_server_certificate(self.ca, directory, "default", common_name="default")
        self.ports = {ONE: one, TWO: two}
        self.engine = Haproxy(directory)
        self.backends = {t: Backend("http", place((), [Server("127.0.0.1", p)])) for t, p in self.ports.items()}

    async def serve(self, rules: tuple[Rule, ...] = RULES, certificates: dict[Key, Certificate] | None = None) -> None:
        files.write(self.config, Plan(rules, self.backends, certificates or {}), self.default)
        await self.engine.serve()

    async def ask(self, host: str, path: str) -> str:
        url = f"http://127.0.0.1:{self.config.http_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": host}) as answer:
            text = await answer.text()
            return text.partition(" ")[0] if answer.status == 200 else str(answer.status)

    async def move(self, target: Target, *wanted: Server) -> None:
        before = self.backends[target].slots
        after = place(before, wanted)
        await self.engine.tell(commands(target.title, before, after))
        self.backends[target] = Backend("http", after)

    async def names(self, host: str) -> tuple[str, ...]:
        """The names in the certificate that a client is shown who asks for the host."""
        context = ssl.create_default_context(cafile=str(self.ca.files.cert))
        context.check_hostname = False
        _, writer = await asyncio.open_connection(
            "127.0.0.1", self.config.https_port, ssl=context, server_hostname=host
        )
        with closing(writer):
            found = writer.get_extra_info("peercert")
            return tuple(value for kind, value in found["subjectAltName"] if kind == "DNS")


@pytest.fixture
async def spot(tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(web(name)) for name in ("one", "two")]
        found = Place(tmp_path, one.port, two.port)
        try:
            yield found
        finally:
            await found.engine.stop()


async def test_requests_take_the_longest_way(spot: Place) -> None:
    await spot.serve()
    wanted = {
        ("a.com", "/foo"): "one",
        ("a.com", "/foo/"): "one",
        ("a.com", "/foobar"): "404",
        ("a.com", "/foo/bar"): "two",
        ("a.com", "/foo/bar/z"): "two",
        ("a.com", "/foo/barz"): "one",
        ("A.com:8080", "/foo"): "one",
        ("a.com", "/x"): "two",
        ("a.com", "/x/"): "404",
        ("d.b.com", "/q"): "one",
        ("e.d.b.com", "/q"): "404",
        ("b.com", "/q"): "404",
        ("c.b.com", "/own/1"): "two",
        ("c.b.com", "/q"): "one",
        ("q", "/any/1"): "two",
        ("a.com", "/any"): "two",
    }
    assert {(host, path): await spot.ask(host, path) for host, path in wanted} == wanted


async def test_certificates_are_shown_by_name(spot: Place) -> None:
    own = tls.ensure_server_certificate(spot.ca, spot.config.directory, "own", names=("own.com",))
    shown = Certificate(own.cert.read_bytes() + own.key.read_bytes(), ("own.com",))
    await spot.serve(certificates={Key("n", "s"): shown})
    assert "own.com" in await spot.names("own.com")
    assert "own.com" not in await spot.names("other.com")
    assert (spot.config.directory / "n_s.pem").stat().st_mode & 0o777 == 0o600
    await spot.serve()
    assert "own.com" not in await spot.names("own.com")
    assert not (spot.config.directory / "n_s.pem").exists()


async def test_servers_come_and_go_without_a_new_worker(spot: Place) -> None:
    await spot.serve()
    await spot.move(ONE, Server("127.0.0.1", spot.ports[TWO]))
    assert await spot.ask("a.com", "/foo") == "two"
    await spot.move(ONE)
    assert await spot.ask("a.com", "/foo") == "503"
    await spot.move(ONE, Server("127.0.0.1", spot.ports[ONE]))
    assert await spot.ask("a.com", "/foo") == "one"
    with pytest.raises(EngineError, match="No such backend"):
        await spot.engine.tell(["set server nobody/s0 state ready"])


async def test_who_stops_unasked_is_gone_around(spot: Place) -> None:
    await spot.serve()
    await spot.move(ONE, Server("127.0.0.1", free_ports(1)[0]), Server("127.0.0.1", spot.ports[ONE]))
    assert {await spot.ask("a.com", "/foo") for _ in range(4)} == {"one"}


async def test_new_workers_drop_no_request(spot: Place) -> None:
    await spot.serve()
    ended = asyncio.Event()
    answers: list[int] = []

    async def ask_on() -> None:
        url = f"http://127.0.0.1:{spot.config.http_port}/foo"
        async with aiohttp.ClientSession() as session:
            while not ended.is_set():
                async with session.get(url, headers={"Host": "a.com"}) as answer:
                    await answer.read()
                    answers.append(answer.status)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(ask_on())
        for number in range(5):
            await spot.serve((*RULES, Rule("more.com", f"/{number}", False, ONE)))
        ended.set()
    assert len(answers) > 50
    assert set(answers) == {200}


async def test_what_is_refused_changes_nothing(spot: Place) -> None:
    await spot.serve()
    spot.backends[TWO] = Backend("http", (Server("not an address", 1),))
    with pytest.raises(EngineError, match="ALERT"):
        await spot.serve()
    assert await spot.ask("a.com", "/foo") == "one"


async def test_a_master_that_was_left_is_used_on(spot: Place) -> None:
    await spot.serve()
    heir = Haproxy(spot.config.directory)
    assert await heir.running()
    await heir.serve()
    assert await spot.ask("a.com", "/foo") == "one"
    await heir.stop()
    assert not await spot.engine.running()


async def test_a_master_that_was_killed_is_missed(spot: Place) -> None:
    await spot.serve()
    gone = asyncio.create_task(spot.engine.ended())
    shown = await spot.engine._ask(spot.config.directory / "master.sock", "show proc")
    master, workers = processes(shown)
    assert master is not None
    await asyncio.sleep(0)
    for pid in (master, *workers):
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await gone
    await spot.serve()
    assert await spot.ask("a.com", "/foo") == "one"


async def test_no_haproxy(spot: Place) -> None:
    files.write(spot.config, Plan(RULES, spot.backends), spot.default)
    with pytest.raises(EngineError, match="apt-get install haproxy"):
        await Haproxy(spot.config.directory, "no-such-haproxy").serve()
