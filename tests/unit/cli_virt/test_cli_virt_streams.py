"""Console, VNC and port-forward against a server in this process: what is carried, and how each end ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kumo.api.errors import StatusError, bad_request
from kumo.api.users import UserInfo
from kumo.cli.virt import port_forward
from kumo.cli.virt.console import BROKEN
from kumo.cli.virt.main import command
from kumo.cli.virt.session import Session
from kumo.cli.virt.standard_io import StandardInput, write
from kumo.machinery.http import Answer, Request, Upgrade, WebSocket
from kumo.machinery.transport import InProcessTransport

pytestmark = pytest.mark.unit
Run = Callable[[WebSocket], Awaitable[None]]
Serve = Callable[[Run, list[StatusError]], None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Have the commands of this test talk to a handler, which first refuses with each of the errors."""

    def use(run: Run, refusals: list[StatusError]) -> None:
        async def handle(request: Request) -> Answer:
            if refusals:
                raise refusals.pop(0)
            return Upgrade("plain.kubevirt.io", run)

        @asynccontextmanager
        async def transport(self: Session) -> AsyncIterator[InProcessTransport]:
            yield InProcessTransport(handle, UserInfo("someone"))

        monkeypatch.setattr(Session, "transport", transport)
        monkeypatch.setattr(Session, "namespace", "default")

    return use


@contextmanager
def standard() -> Iterator[tuple[int, int]]:
    """Pipes instead of standard input and output: the end to type into, and the one to read from.

    No fixture, for pytest moves the descriptors between a test's setup and its call.
    """
    typed, typing = os.pipe()
    shown, showing = os.pipe()
    saved = os.dup(0), os.dup(1)
    os.dup2(typed, 0)
    os.dup2(showing, 1)
    os.close(typed)
    os.close(showing)
    try:
        yield typing, shown
    finally:
        os.dup2(saved[0], 0)
        os.dup2(saved[1], 1)
        for descriptor in (*saved, shown, typing):
            os.close(descriptor)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), prog_name="kumo virt")


async def echo(socket: WebSocket) -> None:
    while (data := await socket.receive()) is not None:
        await socket.send(b"<" + (data if isinstance(data, bytes) else data.encode()) + b">")


def ends_with(code: int) -> Run:
    async def end(socket: WebSocket) -> None:
        await socket.send(b"bye")
        await socket.close(code)

    return end


def test_the_escape_sequence_ends_the_console(serve: Serve) -> None:
    serve(echo, [])
    with standard() as (typing, _):
        os.write(typing, b"\x1d")
        result = run("console", "vm1")
    assert result.exit_code == 0
    assert result.stderr == "Successfully connected to vm1 console. The escape sequence is ^]\n"


@pytest.mark.parametrize(("code", "exit_code"), [(1000, 0), (1006, 1)])
def test_how_the_far_end_ends_a_console(serve: Serve, code: int, exit_code: int) -> None:
    serve(ends_with(code), [])
    with standard() as (_, shown):
        result = run("console", "vm1")
        assert os.read(shown, 10) == b"bye"
    assert result.exit_code == exit_code
    told = "\nYou were disconnected from the console. This could be caused by one of the following:\n"
    assert (told in result.stderr, result.stderr.endswith(f" - network issues\n{BROKEN}\n")) == (code == 1006,) * 2


def test_the_console_waits_for_an_instance_that_does_not_run_yet(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kumo.cli.virt.console._RETRY_SECONDS", 0.0)
    with standard():
        serve(ends_with(1000), [bad_request("VMI is not running")] * 3)
        assert run("console", "vm1").exit_code == 0
        serve(ends_with(1000), [bad_request("VMI is not running")])
        result = run("console", "vm1", "--timeout=0")
    assert (result.exit_code, result.stderr) == (1, "VMI is not running\n")


def test_port_forward_by_standard_input_and_output(serve: Serve) -> None:
    async def once(socket: WebSocket) -> None:
        data = await socket.receive()
        assert isinstance(data, bytes)
        await socket.send(data.upper())
        await socket.close()

    serve(once, [])
    with standard() as (typing, shown):
        os.write(typing, b"hello")
        result = run("port-forward", "vm/vm1", "22", "--stdio=true")
        assert os.read(shown, 10) == b"HELLO"
    assert result.exit_code == 0


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_that_is_taken(serve: Serve, protocol: str) -> None:
    serve(echo, [])
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            taken.listen()
        port = taken.getsockname()[1]
        result = run("port-forward", "vm/vm1", f"{protocol}/{port}:22")
    told = f"forwarding {protocol} 127.0.0.1:{port} to 22\n"
    refusal = f"listen {protocol} 127.0.0.1:{port}: bind: address already in use\n"
    assert (result.exit_code, result.stderr) == (1, told + refusal)
    assert run("port-forward", "vm/vm1", "70000:22").stderr.endswith(": bind: invalid argument\n")


async def test_each_peer_of_a_udp_port_has_its_stream(serve: Serve) -> None:
    serve(echo, [])
    session = Session(Path("/nowhere"), "", "default")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = port_forward.Target("virtualmachines", "vm1", "default")
    forwarded = [port_forward.ForwardedPort(port, 53, "udp")]
    task = asyncio.create_task(port_forward._listen(session, target, forwarded, "127.0.0.1"))
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        async with asyncio.timeout(10):
            for peer, word in ((one, b"a"), (two, b"b"), (one, b"c")):
                peer.setblocking(False)
                peer.connect(("127.0.0.1", port))
                # Until the port is open a datagram is lost, as datagrams are.
                while True:
                    await asyncio.sleep(0.01)
                    with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                        await loop.sock_sendall(peer, word)
                        async with asyncio.timeout(0.2):
                            assert await loop.sock_recv(peer, 10) == b"<" + word + b">"
                            break
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_standard_input_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"abc")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        typed = StandardInput(descriptor)
        async with asyncio.timeout(10):
            assert [await typed.read(), await typed.read()] == [b"abc", b""]
    finally:
        os.close(descriptor)


async def test_all_of_it_is_written() -> None:
    reading, writing = os.pipe()
    data = os.urandom(300_000)
    found = b""
    async with asyncio.timeout(10):
        task = asyncio.create_task(write(data, writing))
        while len(found) < len(data):
            found += await asyncio.to_thread(os.read, reading, 65536)
        await task
    os.close(reading)
    os.close(writing)
    assert found == data
