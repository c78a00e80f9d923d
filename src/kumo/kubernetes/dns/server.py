"""The DNS server: sockets in, `Resolver` behind. UDP and TCP (RFC 7766: several questions a connection)."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, cast

import structlog
from dnslib import OPCODE, QTYPE, RCODE, DNSRecord

from kumo.kubernetes.dns import messages
from kumo.kubernetes.dns.figures import Figures
from kumo.kubernetes.dns.forward import Forwarder, Unanswered
from kumo.kubernetes.dns.zone import Found, Zone

_log = structlog.get_logger("kumo.dns")
_IDLE = 10.0
_IP_FREEBIND = 15
_CHAIN = 8
_WAITING = 1000
"""Questions by UDP that may wait for others' answers at once: whoever sends more gets no memory, but SERVFAIL."""
_CONNECTIONS = 500
_PIPELINE = 16
"""Questions of one TCP connection that are answered at once, each as soon as it can be (RFC 7766, section 6.2.1.1)."""


class Resolver:
    """Answers queries: from the zone at once, else by the forwarder."""

    def __init__(self, zone: Zone, forwarder: Forwarder, ready: Callable[[], bool]) -> None:
        self._zone = zone
        self._forwarder = forwarder
        self._ready = ready

    def now(self, query: DNSRecord) -> DNSRecord | None:
        """The answer if it needs nobody else, or None."""
        if query.header.opcode != OPCODE.QUERY:
            return messages.reply_to(query, code=RCODE.NOTIMP)
        if len(query.questions) != 1:
            return messages.reply_to(query, code=RCODE.FORMERR)
        name = _name(query.q.qname)
        if query.q.qclass != 1 or not self._zone.owns(name.lower()):
            return None
        if not self._ready():
            return messages.reply_to(query, code=RCODE.SERVFAIL)
        found = self._zone.answer(name, query.q.qtype)
        return None if found.alias and query.q.qtype != QTYPE.CNAME else self._reply(query, found)

    async def later(self, query: DNSRecord) -> DNSRecord:
        """The answer that takes others: names upstream, and aliases of them."""
        name = _name(query.q.qname)
        if query.q.qclass == 1 and self._zone.owns(name.lower()):
            return await self._follow(query, self._zone.answer(name, query.q.qtype))
        try:
            upstream = await self._forwarder.ask(name, query.q.qtype, query.q.qclass)
        except Unanswered:
            return messages.reply_to(query, code=RCODE.SERVFAIL)
        reply = messages.reply_to(query, code=upstream.header.rcode)
        reply.rr, reply.auth, reply.ar = list(upstream.rr), list(upstream.auth), list(upstream.ar)
        return reply

    def _reply(self, query: DNSRecord, found: Found) -> DNSRecord:
        reply = messages.reply_to(query, code=found.code, authoritative=True)
        reply.rr, reply.ar = found.answers, found.additional
        if not found.answers:
            reply.auth = [self._zone.soa(_name(query.q.qname))]
        return reply

    async def _follow(self, query: DNSRecord, found: Found) -> DNSRecord:
        """Append what the alias stands for, inside the cluster or outside."""
        answers, steps = list(found.answers), 0
        while found.alias and steps < _CHAIN:
            steps += 1
            if self._zone.owns(found.alias.lower()):
                found = self._zone.answer(found.alias, query.q.qtype)
                answers += found.answers
                continue
            try:
                upstream = await self._forwarder.ask(found.alias, query.q.qtype)
            except Unanswered:
                return messages.reply_to(query, code=RCODE.SERVFAIL)
            answers += upstream.rr
            break
        return self._reply(query, Found(answers=answers))


def _name(label: object) -> str:
    return str(label).removesuffix(".")


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver, figures: Figures) -> None:
        self._resolver = resolver
        self._figures = figures
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = messages.parse(data)
        if query is None:
            self._send(messages.format_error(data), addr)
            return
        if messages.speaks_newer_edns(query):
            self._send(messages.bad_version(query), addr)
            return
        self._figures.asked(query, udp=True)
        reply = self._resolver.now(query)
        if reply is None and len(self._tasks) >= _WAITING:
            self._figures.turned_away += 1
            reply = messages.reply_to(query, code=RCODE.SERVFAIL)
        if reply is not None:
            self._reply(reply, query, addr)
            return
        task = asyncio.create_task(self._later(query, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def error_received(self, exc: Exception) -> None:
        """A client that went away before its answer came: nothing to do."""

    async def _later(self, query: DNSRecord, addr: tuple[str, int]) -> None:
        self._reply(await self._resolver.later(query), query, addr)

    def _reply(self, reply: DNSRecord, query: DNSRecord, addr: tuple[str, int]) -> None:
        self._figures.answered(reply, udp=True)
        self._send(messages.pack(reply, query, datagram=True), addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, addr)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _next(reader: asyncio.StreamReader, room: asyncio.Semaphore) -> bytes | None:
    """The connection's next question, as soon as there is room for it; None when no more comes."""
    try:
        async with asyncio.timeout(_IDLE):
            await room.acquire()
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(size)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


class Ports(NamedTuple):
    """Where the server listens."""

    udp: int
    tcp: int


class Server:
    """Sockets at `address`, on `port` or, where another program has that, on any free one."""

    def __init__(self, resolver: Resolver, address: str, port: int, figures: Figures | None = None) -> None:
        self._resolver = resolver
        self._figures = figures or Figures()
        self._address = address
        self._port = port
        self._datagrams: _Datagrams | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> Ports:
        """Listen. Raises OSError."""
        loop = asyncio.get_running_loop()
        udp = self._bind(socket.SOCK_DGRAM)
        tcp = self._bind(socket.SOCK_STREAM)
        ports = Ports(udp.getsockname()[1], tcp.getsockname()[1])
        self._transport, self._datagrams = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._resolver, self._figures), sock=udp
        )
        self._tcp = await asyncio.start_server(self._serve, sock=tcp)
        return ports

    def _bind(self, kind: socket.SocketKind) -> socket.socket:
        found = socket.socket(socket.AF_INET, kind)
        try:
            found.setblocking(False)
            # The bridge may get its address a moment after we start.
            found.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
            if kind == socket.SOCK_STREAM:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind((self._address, self._port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                found.bind((self._address, 0))
        except OSError:
            found.close()
            raise
        return found

    async def close(self) -> None:
        """Stop listening and end what is under way."""
        if self._transport is not None:
            self._transport.close()
        if self._datagrams is not None:
            await self._datagrams.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= _CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            async with asyncio.TaskGroup() as group:
                room = asyncio.Semaphore(_PIPELINE)
                while (data := await _next(reader, room)) is not None:
                    group.create_task(self._answer(data, writer, room))
        except* OSError:
            pass  # The client has gone, or takes no answers.
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, data: bytes, writer: asyncio.StreamWriter, room: asyncio.Semaphore) -> None:
        """Answer one question; who is sent no answer is not listened to any more. Raises OSError, TimeoutError."""
        answer = await self._made(data)
        if not answer:
            raise ConnectionError("what deserves no answer")
        async with asyncio.timeout(_IDLE):
            writer.write(struct.pack("!H", len(answer)) + answer)
            await writer.drain()
        room.release()

    async def _made(self, data: bytes) -> bytes:
        query = messages.parse(data)
        if query is None:
            return messages.format_error(data)
        if messages.speaks_newer_edns(query):
            return messages.bad_version(query)
        self._figures.asked(query, udp=False)
        reply = self._resolver.now(query) or await self._resolver.later(query)
        self._figures.answered(reply, udp=False)
        return messages.pack(reply, query, datagram=False)
