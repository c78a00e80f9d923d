"""Port-forward: a TCP or UDP port of the guest, dialled from here at the instance's first address."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kumo.api.conditions import condition
from kumo.api.errors import bad_request, internal
from kumo.api.objects import Object, name_of, uid_of
from kumo.kubevirt.virt_api.subresources.call import Call
from kumo.kubevirt.virt_api.subresources.refusals import vm_conflict, vmi_conflict
from kumo.kubevirt.virt_api.subresources.streams import upgrade
from kumo.machinery.http import Upgrade, WebSocket

_CHUNK = 32 << 10
_CONNECT = 30.0
_WORDS = {
    errno.ECONNREFUSED: "connect: connection refused",
    errno.EHOSTUNREACH: "connect: no route to host",
    errno.ENETUNREACH: "connect: network is unreachable",
    errno.ETIMEDOUT: "connect: connection timed out",
}


class TcpSocket:
    """A TCP connection with the face of a WebSocket: a message is what one read has brought."""

    protocol = ""
    close_code: int | None = None

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes | str | None:
        """The next bytes, None at the end."""
        try:
            return await self._reader.read(_CHUNK) or None
        except OSError:
            return None

    async def send(self, data: bytes | str) -> None:
        """Send them; text messages are no part of the protocol and are left out."""
        if isinstance(data, bytes):
            self._writer.write(data)
            await self._writer.drain()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection."""
        self._writer.close()


class UdpSocket(asyncio.DatagramProtocol):
    """A connected UDP socket with the face of a WebSocket: a message is a datagram."""

    protocol = ""
    close_code: int | None = None

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(256)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Called by the loop; a full queue drops datagrams, as a full socket would."""
        if not self._arrived.full():
            self._arrived.put_nowait(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if not self._arrived.full():
            self._arrived.put_nowait(None)

    async def receive(self) -> bytes | str | None:
        """The next datagram, None once closed."""
        return await self._arrived.get()

    async def send(self, data: bytes | str) -> None:
        """Send one datagram."""
        if isinstance(data, bytes) and self._transport is not None:
            self._transport.sendto(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


async def to_instance(call: Call) -> Upgrade:
    """To a port of a VirtualMachineInstance."""
    return await _forward(call, await call.vmi())


async def to_machine(call: Call) -> Upgrade:
    """To a port of a VirtualMachine's instance."""
    return await _forward(call, await instance_of_machine(call))


async def instance_of_machine(call: Call) -> Object:
    """The instance of the VM that the call names. Raises StatusError when there is none."""
    vm = await call.vm()
    if not (vm.get("status") or {}).get("created"):
        raise vm_conflict(name_of(vm), "VMI is not started")
    vmi = await call.vmi()
    if any(owner.get("uid") == uid_of(vm) for owner in vmi["metadata"].get("ownerReferences") or ()):
        return vmi
    raise internal(f"unable to retrieve vmi [{call.name}] for vm: <nil>")


async def _forward(call: Call, vmi: Object) -> Upgrade:
    if condition(vmi, "Paused") is not None:
        raise vmi_conflict(name_of(vmi), "VMI is paused")
    found = (vmi.get("status") or {}).get("interfaces") or []
    if not found:
        raise bad_request("no network interfaces are present")
    port = call.parameters[0] if call.parameters else ""
    protocol = call.parameters[1] if len(call.parameters) > 1 else "tcp"
    if not port:
        raise bad_request("port must not be empty")
    host = str(found[0].get("ipAddress") or "")
    if protocol not in ("tcp", "udp"):
        raise internal(f"dialing VM: dial {protocol}: unknown network {protocol}")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise internal(f"dialing VM: dial {protocol}: address {port}: invalid port")
    return await upgrade(call, lambda: _dial(protocol, host, int(port)))


@asynccontextmanager
async def _dial(protocol: str, host: str, port: int) -> AsyncIterator[WebSocket]:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        # Without an address nobody listens; dialling it would reach this server's own machine.
        ipaddress.ip_address(host)
        socket = await _connect(protocol, host, port)
    except (OSError, ValueError, TimeoutError) as error:
        raise internal(f"dialing VM: dial {protocol} {shown}: {_words(error)}") from error
    try:
        yield socket
    finally:
        await socket.close()


async def _connect(protocol: str, host: str, port: int) -> WebSocket:
    if protocol == "udp":
        loop = asyncio.get_running_loop()
        _, datagrams = await loop.create_datagram_endpoint(UdpSocket, remote_addr=(host, port))
        return datagrams
    async with asyncio.timeout(_CONNECT):
        reader, writer = await asyncio.open_connection(host, port)
    return TcpSocket(reader, writer)


def _words(error: Exception) -> str:
    """The failure as Go's net package words it."""
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if isinstance(error, OSError):
        return _WORDS.get(error.errno or 0, str(error))
    return _WORDS[errno.ECONNREFUSED]
