"""Asking the machine's own resolvers, with a cache. Questions in, whole answers (`DNSRecord`) out."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import OrderedDict
from copy import copy
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import structlog
from dnslib import EDNS0, QTYPE, RCODE, DNSError, DNSQuestion, DNSRecord

from kumo.kubernetes.dns.messages import LARGEST_SIZE
from kumo.kubernetes.dns.routes import Routes, Server

_log = structlog.get_logger("kumo.dns")
_TIMEOUT = 2.0
_ATTEMPTS = 2
_CACHED = 10000
_LONGEST = 30.0
"""Seconds an answer is kept at most, as in upstream's usual configuration of CoreDNS."""
_UNDER_WAY = 1000


class Unanswered(Exception):
    """No upstream server gave an answer."""


class _Kept(NamedTuple):
    record: DNSRecord
    since: float
    until: float


class Forwarder:
    """The servers that `routes` names, else those of `resolv_conf` (read again when it changes) but for `without`."""

    def __init__(self, resolv_conf: Path, without: frozenset[str] = frozenset(), *, port: int = 53) -> None:
        self._resolv_conf = resolv_conf
        self._port = port
        self._without = without
        self._servers: list[str] = []
        self._routes = Routes()
        self._stamp = -1
        self._cache: OrderedDict[tuple[str, int, int], _Kept] = OrderedDict()
        self.hits = self.misses = 0
        """How often the cache had the answer, and how often not."""
        self._under_way: dict[tuple[str, int, int], asyncio.Task[DNSRecord]] = {}

    def route(self, routes: Routes) -> None:
        """Ask these servers from now on; what others said is forgotten."""
        self._routes = routes
        self._cache.clear()

    def servers_for(self, name: str) -> list[Server]:
        """The servers to ask about the name, in their order."""
        found = self._routes.servers(name.lower().rstrip("."))
        if not found:
            return [Server(address) for address in self.servers()]
        return [s for s in found if s.port not in (0, self._port) or s.address not in self._without]

    def servers(self) -> list[str]:
        """The machine's own servers in their order."""
        try:
            stamp = self._resolv_conf.stat().st_mtime_ns
        except OSError:
            return self._servers
        if stamp != self._stamp:
            self._stamp = stamp
            self._servers = [s for s in parse_servers(self._resolv_conf.read_text()) if s not in self._without]
        return self._servers

    async def ask(self, name: str, kind: int, kind_class: int = 1) -> DNSRecord:
        """The answer to the question; its id and flags are upstream's. Raises Unanswered."""
        key = (name.lower(), kind, kind_class)
        kept = self._kept(key)
        if kept is not None:
            self.hits += 1
            return kept
        self.misses += 1
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= _UNDER_WAY:
                raise Unanswered(f"{_UNDER_WAY} questions are under way already")
            task = asyncio.create_task(self._ask_servers(name, kind, kind_class), name=f"dns {name}")
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- cache ------------------------------------------------------------------------------------------------------

    def _kept(self, key: tuple[str, int, int]) -> DNSRecord | None:
        kept = self._cache.get(key)
        now = time.monotonic()
        if kept is None or now >= kept.until:
            self._cache.pop(key, None)
            return None
        aged = DNSRecord(header=kept.record.header, questions=kept.record.questions)
        for section in ("rr", "auth", "ar"):
            aged_section = [_aged(r, int(now - kept.since)) for r in getattr(kept.record, section)]
            setattr(aged, section, aged_section)
        return aged

    def _finished(self, key: tuple[str, int, int], done: asyncio.Task[DNSRecord]) -> None:
        self._under_way.pop(key, None)
        if done.cancelled() or done.exception() is not None:
            return
        record = done.result()
        seconds = _lifetime(record)
        if seconds > 0:
            now = time.monotonic()
            self._cache[key] = _Kept(record, now, now + seconds)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)

    # -- the wire ---------------------------------------------------------------------------------------------------

    async def _ask_servers(self, name: str, kind: int, kind_class: int) -> DNSRecord:
        why = "no server is configured"
        for server, port in self.servers_for(name) * _ATTEMPTS:
            question = DNSRecord(q=DNSQuestion(name, kind, kind_class))
            question.header.id = random.SystemRandom().randrange(65536)
            question.header.rd = 1
            question.add_ar(EDNS0(udp_len=LARGEST_SIZE))
            try:
                async with asyncio.timeout(_TIMEOUT):
                    answer = await _exchange(question, server, port or self._port)
                    if answer.header.tc:
                        answer = await _exchange_tcp(question, server, port or self._port)
            except TimeoutError:
                why = f"{server} did not answer within {_TIMEOUT:.0f} s"
                continue
            except (OSError, DNSError) as error:
                why = f"{server}: {error}"
                continue
            if answer.header.rcode in (RCODE.NOERROR, RCODE.NXDOMAIN):
                return answer
            why = f"{server} answered {RCODE.get(answer.header.rcode)}"
        _log.debug("no answer from upstream", name=name, type=QTYPE.get(kind), why=why)
        raise Unanswered(why)


def parse_servers(text: str) -> list[str]:
    """The addresses behind `nameserver` in a resolv.conf(5); at most three, as the C library reads them."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                ip_address(words[1].split("%")[0])
            except ValueError:
                continue
            found.append(words[1])
    return found[:3]


def _aged(record: object, seconds: int) -> object:
    ttl = getattr(record, "ttl", None)
    if ttl is None or getattr(record, "rtype", None) == QTYPE.OPT:
        return record
    younger = copy(record)
    younger.ttl = max(0, ttl - seconds)  # type: ignore[attr-defined]
    return younger


def _lifetime(record: DNSRecord) -> float:
    """Seconds for which the answer may be kept: its shortest TTL, or for an empty one what the SOA says (RFC 2308)."""
    if record.rr:
        return float(min(_LONGEST, *(r.ttl for r in record.rr)))
    soa = next((r for r in record.auth if r.rtype == QTYPE.SOA), None)
    return float(min(_LONGEST, soa.ttl, soa.rdata.times[4])) if soa is not None else 0.0


def _fits(answer: DNSRecord, question: DNSRecord) -> bool:
    if answer.header.id != question.header.id or not answer.header.qr or not answer.questions:
        return False
    return answer.q.qtype == question.q.qtype and str(answer.q.qname).lower() == str(question.q.qname).lower()


class _Datagram(asyncio.DatagramProtocol):
    def __init__(self, question: DNSRecord) -> None:
        self._question = question
        self.answer: asyncio.Future[DNSRecord] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            answer = DNSRecord.parse(data)
        except DNSError:
            return
        if _fits(answer, self._question) and not self.answer.done():
            self.answer.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _exchange(question: DNSRecord, server: str, port: int) -> DNSRecord:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Datagram(question), remote_addr=(server, port), family=family
    )
    try:
        transport.sendto(bytes(question.pack()))
        return await protocol.answer
    finally:
        protocol.answer.cancel()
        transport.close()


async def _exchange_tcp(question: DNSRecord, server: str, port: int) -> DNSRecord:
    reader, writer = await asyncio.open_connection(server, port)
    try:
        data = bytes(question.pack())
        writer.write(struct.pack("!H", len(data)) + data)
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        answer = DNSRecord.parse(await reader.readexactly(size))
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the connection ended early") from error
    finally:
        writer.close()
    if not _fits(answer, question):
        raise ConnectionError("the answer is not to this question")
    return answer
