"""port-forward: local ports, or standard input and output, joined with ports of a virtual machine."""

from __future__ import annotations

import asyncio
import errno
import functools
import json
import os
import re
from contextlib import AsyncExitStack
from typing import NamedTuple, cast

import click

from kumo.api.errors import StatusError
from kumo.cli.virt.flags import Command
from kumo.cli.virt.session import PROTOCOL, Session, SessionError, session_options
from kumo.cli.virt.standard_io import StandardInput, write
from kumo.machinery.client import Transport
from kumo.machinery.http import WebSocket

_RESOURCES = {
    "vm": "virtualmachines",
    "vms": "virtualmachines",
    "virtualmachine": "virtualmachines",
    "virtualmachines": "virtualmachines",
    "vmi": "virtualmachineinstances",
    "vmis": "virtualmachineinstances",
    "virtualmachineinstance": "virtualmachineinstances",
    "virtualmachineinstances": "virtualmachineinstances",
}


class ForwardedPort(NamedTuple):
    """A local port, the port in the guest, and the protocol between."""

    local: int
    remote: int
    protocol: str


class Target(NamedTuple):
    """What is forwarded to."""

    resource: str
    name: str
    namespace: str


def parse_port(text: str) -> ForwardedPort:
    """`[protocol/]localPort[:targetPort]`. Raises SessionError for anything else."""
    words = text.split("/")
    protocol, ports = (words[0], words[1]) if len(words) > 1 else ("tcp", text)
    parts = [p for p in ports.split(":") if p]
    if not parts:
        raise SessionError("invalid port, missing local and/or remote port")
    local = _number(parts[0])
    return ForwardedPort(local, _number(parts[1]) if len(parts) > 1 else local, protocol)


def _number(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise SessionError(f"strconv.Atoi: parsing {json.dumps(text)}: invalid syntax")
    return int(text)


def parse_target(text: str, namespace: str) -> Target:
    """`type/name[/namespace]`, type vm or vmi in any of their forms. Raises SessionError."""
    if not text:
        raise SessionError("target cannot be empty")
    parts = text.split("/")
    if len(parts) == 1:
        raise SessionError("target must contain type and name separated by '/'")
    if len(parts) > 3:
        raise SessionError("target is not valid with more than two '/'")
    if len(parts) == 3 and not parts[2]:
        raise SessionError("namespace cannot be empty")
    resource = _RESOURCES.get(parts[0].lower())
    if resource is None:
        raise SessionError(f"unsupported resource type '{parts[0]}'")
    if not parts[1]:
        raise SessionError("name cannot be empty")
    return Target(resource, parts[1], parts[2] if len(parts) == 3 else namespace)


def _path(session: Session, target: Target, port: ForwardedPort) -> str:
    verb = f"portforward/{port.remote}/{port.protocol}"
    return session.subresource_path(target.resource, target.name, verb, target.namespace)


def _refused(target: Target, error: Exception) -> str:
    kind = "vm" if target.resource == "virtualmachines" else "vmi"
    return f"can't access {kind}/{target.name}.{target.namespace}: {error}"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, socket: WebSocket) -> None:
    async def up() -> None:
        while data := await reader.read(32768):
            await socket.send(data)
        await socket.close()

    async def down() -> None:
        while (data := await socket.receive()) is not None:
            writer.write(data if isinstance(data, bytes) else data.encode())
            await writer.drain()

    sender = asyncio.create_task(up())
    try:
        await down()
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        writer.close()


async def _stdio(session: Session, target: Target, port: ForwardedPort) -> None:
    """Join standard input and output with the port; over when either ends."""
    path = _path(session, target, port)
    async with session.transport() as carrier, carrier.websocket(path, protocols=(PROTOCOL,)) as socket:

        async def up() -> None:
            typed = StandardInput()
            while data := await typed.read():
                await socket.send(data)

        async def down() -> None:
            while (data := await socket.receive()) is not None:
                await write(data if isinstance(data, bytes) else data.encode())

        copies = {asyncio.create_task(up()), asyncio.create_task(down())}
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)


async def _listen(session: Session, target: Target, ports: list[ForwardedPort], address: str) -> None:
    """Listen on every port until cancelled. Raises SessionError for one that can't be had."""
    loop = asyncio.get_running_loop()
    async with session.transport() as transport, AsyncExitStack() as open_ones:
        for port in ports:
            click.echo(f"forwarding {port.protocol} {address}:{port.local} to {port.remote}", err=True)
            try:
                if port.protocol == "udp":
                    datagrams = functools.partial(_Datagrams, session, transport, target, port)
                    endpoint, _ = await loop.create_datagram_endpoint(datagrams, local_addr=(address, port.local))
                    open_ones.callback(endpoint.close)
                    continue
                server = await asyncio.start_server(_acceptor(session, transport, target, port), address, port.local)
                open_ones.callback(server.close)
            except (OSError, OverflowError) as error:
                raise SessionError(f"listen {port.protocol} {address}:{port.local}: {_bind_words(error)}") from error
        await asyncio.Event().wait()


def _bind_words(error: OSError | OverflowError) -> str:
    """Why a port can't be listened on, as Go's net package words it."""
    number = getattr(error, "errno", None)
    if isinstance(error, OverflowError):
        number = errno.EINVAL
    return f"bind: {os.strerror(number).lower()}" if number and number > 0 else str(error)


def _acceptor(session: Session, transport: Transport, target: Target, port: ForwardedPort):  # type: ignore[no-untyped-def]
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with transport.websocket(_path(session, target, port), protocols=(PROTOCOL,)) as socket:
                await _copy(reader, writer, socket)
        except (StatusError, ConnectionError) as error:
            click.echo(_refused(target, error), err=True)
            writer.close()

    return accepted


class _Datagrams(asyncio.DatagramProtocol):
    """Each local peer gets a stream of its own, in which a message is a datagram."""

    def __init__(self, session: Session, carrier: Transport, target: Target, port: ForwardedPort) -> None:
        self._session, self._carrier, self._target, self._port = session, carrier, target, port
        self._peers: dict[tuple[str, int], asyncio.Queue[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport does not inherit from the class of that name.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr not in self._peers:
            self._peers[addr] = asyncio.Queue()
            task = asyncio.create_task(self._serve(addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._peers[addr].put_nowait(data)

    async def _serve(self, peer: tuple[str, int]) -> None:
        path = _path(self._session, self._target, self._port)
        try:
            async with self._carrier.websocket(path, protocols=(PROTOCOL,)) as socket:
                sender = asyncio.create_task(self._send(peer, socket))
                try:
                    while (data := await socket.receive()) is not None:
                        assert self._transport is not None
                        self._transport.sendto(data if isinstance(data, bytes) else data.encode(), peer)
                finally:
                    sender.cancel()
        except (StatusError, ConnectionError) as error:
            click.echo(_refused(self._target, error), err=True)
        finally:
            self._peers.pop(peer, None)

    async def _send(self, peer: tuple[str, int], socket: WebSocket) -> None:
        while True:
            await socket.send(await self._peers[peer].get())


@click.command("port-forward", cls=Command)
@click.argument("arguments", nargs=-1, metavar="TYPE/NAME[/NAMESPACE] [PROTOCOL/]LOCAL[:TARGET]...")
@click.option("--stdio", is_flag=True, help="Forward the tunnel to standard input and output; a single port only.")
@click.option("--address", default="127.0.0.1", show_default=True, help="The address the local ports are opened on.")
@session_options
def port_forward(session: Session, arguments: tuple[str, ...], stdio: bool, address: str) -> None:
    """Forward local ports to a virtualmachine or virtualmachineinstance."""
    if len(arguments) < 2:
        why = f"portforward requires at least 2 arg(s), received {len(arguments)}"
        click.echo(f"fatal: Number of input parameters is incorrect, {why}", err=True)
        click.echo(click.get_current_context().get_help(), err=True)
        raise SessionError("argument validation failed")
    where = parse_target(arguments[0], session.namespace)
    ports = [parse_port(p) for p in arguments[1:]]
    if stdio:
        if len(ports) != 1:
            raise SessionError("only one port supported when forwarding to stdout")
        asyncio.run(_stdio(session, where, ports[0]))
        return
    unknown = next((p.protocol for p in ports if p.protocol not in ("tcp", "udp")), "")
    if unknown:
        raise SessionError(f"unknown protocol: {unknown}")
    try:
        asyncio.run(_listen(session, where, ports, address))
    except KeyboardInterrupt:
        return
