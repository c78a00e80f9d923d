"""port-forward: local ports, or standard input and output, joined with ports of a virtual machine."""

from __future__ import annotations

import asyncio
import os
from typing import NamedTuple

import click

from kumo.api.errors import StatusError
from kumo.cli.virt.session import PROTOCOL, Session, SessionError, namespace_option
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
    protocol, _, ports = text.rpartition("/")
    parts = [p for p in ports.split(":") if p]
    if not parts:
        raise SessionError("invalid port, missing local and/or remote port")
    try:
        local, remote = int(parts[0]), int(parts[1] if len(parts) > 1 else parts[0])
    except ValueError as error:
        raise SessionError(f"invalid port {text!r}: {error}") from error
    return ForwardedPort(local, remote, protocol or "tcp")


def parse_target(text: str, namespace: str) -> Target:
    """`type/name[/namespace]`, type vm or vmi in any of their forms. Raises SessionError."""
    parts = text.split("/")
    if len(parts) not in (2, 3):
        raise SessionError("target must contain type and name separated by '/'")
    if not parts[1]:
        raise SessionError("expected name after '/'")
    resource = _RESOURCES.get(parts[0].lower())
    if resource is None:
        raise SessionError(f"unsupported resource type '{parts[0]}'")
    if len(parts) == 3 and not parts[2]:
        raise SessionError("namespace cannot be empty")
    return Target(resource, parts[1], parts[2] if len(parts) == 3 else namespace)


def _path(session: Session, target: Target, port: ForwardedPort) -> str:
    verb = f"portforward/{port.remote}/{port.protocol}"
    return session.subresource_path(target.resource, target.name, verb, target.namespace)


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
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop), os.fdopen(1, "wb", buffering=0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    path = _path(session, target, port)
    async with session.transport() as carrier, carrier.websocket(path, protocols=(PROTOCOL,)) as socket:
        await _copy(reader, writer, socket)


async def _listen(session: Session, target: Target, ports: list[ForwardedPort], address: str) -> None:
    async with session.transport() as transport, asyncio.TaskGroup() as group:
        for port in ports:
            if port.protocol == "udp":
                await _listen_udp(session, transport, target, port, address)
                continue
            server = await asyncio.start_server(_acceptor(session, transport, target, port), address, port.local)
            group.create_task(server.serve_forever())
        for port in ports:
            click.echo(f"forwarding {port.protocol} {address}:{port.local} to {port.remote}", err=True)
        await asyncio.Event().wait()


def _acceptor(session: Session, transport: Transport, target: Target, port: ForwardedPort):  # type: ignore[no-untyped-def]
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with transport.websocket(_path(session, target, port), protocols=(PROTOCOL,)) as socket:
                await _copy(reader, writer, socket)
        except (StatusError, ConnectionError) as error:
            click.echo(f"can't access {target.name}: {error}", err=True)
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
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

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
            click.echo(f"can't access {self._target.name}: {error}", err=True)
        finally:
            self._peers.pop(peer, None)

    async def _send(self, peer: tuple[str, int], socket: WebSocket) -> None:
        while True:
            await socket.send(await self._peers[peer].get())


async def _listen_udp(session: Session, carrier: Transport, target: Target, port: ForwardedPort, address: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(
        lambda: _Datagrams(session, carrier, target, port), local_addr=(address, port.local)
    )


@click.command("port-forward")
@click.argument("target", metavar="TYPE/NAME[/NAMESPACE]")
@click.argument("ports", nargs=-1, required=True, metavar="[PROTOCOL/]LOCAL[:TARGET]...")
@click.option(
    "--stdio",
    type=bool,
    default=False,
    is_flag=False,
    flag_value=True,
    help="--stdio=true: Set this to true to forward the tunnel to stdout/stdin; Only works with a single port",
)
@click.option("--address", default="127.0.0.1", show_default=True, help="The address the local ports are opened on.")
@namespace_option
def port_forward(session: Session, target: str, ports: tuple[str, ...], stdio: bool, address: str) -> None:
    """Forward local ports to a virtualmachine or virtualmachineinstance."""
    parsed = [parse_port(p) for p in ports]
    where = parse_target(target, session.namespace)
    if stdio:
        if len(parsed) != 1:
            raise SessionError("only one port supported when forwarding to stdout")
        asyncio.run(_stdio(session, where, parsed[0]))
        return
    try:
        asyncio.run(_listen(session, where, parsed, address))
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise SessionError(f"can't listen on {address}: {error}") from error
