"""The addresses behind ExternalName Services, as the cluster's DNS says, and for as long as it says.

Which addresses an Ingress may lead to is decided here too: haproxy runs in the node's network, so that a name which
means the node itself (or the cloud's metadata service) would open to everybody what is meant for nobody.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

_TIMEOUT = 5.0
_SHORTEST, _LONGEST = 5.0, 300.0
"""Seconds for which an answer counts, whatever its records say."""
_MOST = 16
_AT_ONCE = 16
"""Questions under way, however many names there are."""


class Resolved(NamedTuple):
    """What a name means now; `trouble` says why there is nothing, or not all of it."""

    addresses: tuple[str, ...] = ()
    trouble: str = ""


def is_allowed(text: str, own: Collection[str] = ()) -> bool:
    """Whether an Ingress may lead to the address: not to the machine itself, its links, or nobody."""
    found: IPv4Address | IPv6Address | None = ip_address(text)
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    assert found is not None
    local = found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast or found.is_reserved
    return not local and str(found) not in own


def judged(name: str, addresses: Collection[str], own: Collection[str] = ()) -> Resolved:
    """The addresses that may be led to, at most 16, in a stable order."""
    kept = [a for a in dict.fromkeys(addresses) if is_allowed(a, own)]
    refused = sorted(set(addresses) - set(kept))
    trouble = f'the name "{name}" means {refused[0]}, where no Ingress may lead' if refused else ""
    return Resolved(tuple(sorted(kept)[:_MOST]), trouble)


class Names:
    """Follows names, by the DNS server at `server` (`host:port`, asked by TCP); `changed` is called when one changes.

    `own` are addresses that no name may mean. What was known stays while the server can't be asked.
    """

    def __init__(self, server: str, changed: Callable[[], None], own: Collection[str] = ()) -> None:
        self._host, _, port = server.rpartition(":")
        self._port = int(port or 53)
        self._changed = changed
        self._own = frozenset(own)
        self._known: dict[str, Resolved] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._following: dict[str, asyncio.Task[None]] = {}

    def want(self, names: Collection[str]) -> None:
        """Follow these names, and no others."""
        for name in self._following.keys() - set(names):
            self._following.pop(name).cancel()
            self._known.pop(name, None)
        for name in set(names) - self._following.keys():
            self._following[name] = asyncio.create_task(self._follow(name), name=f"name {name}")

    def meaning(self, name: str) -> Resolved:
        """What the name means; nothing until it is known."""
        return self._known.get(name, Resolved())

    async def close(self) -> None:
        """Follow nothing more."""
        tasks = list(self._following.values())
        self.want(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, name: str) -> None:
        pause = _SHORTEST
        while True:
            try:
                async with self._room, asyncio.timeout(_TIMEOUT):
                    addresses, seconds = await self._ask(name)
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                known = self.meaning(name).addresses
                reason = str(error) or "no answer"
                self._learn(name, Resolved(known, f'the name "{name}" can\'t be looked up: {reason}'))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST)
                continue
            self._learn(name, judged(name, addresses, self._own))
            pause = _SHORTEST
            await asyncio.sleep(min(max(seconds, _SHORTEST), _LONGEST))

    def _learn(self, name: str, found: Resolved) -> None:
        if self._known.get(name) != found:
            self._known[name] = found
            self._changed()

    async def _ask(self, name: str) -> tuple[list[str], float]:
        """The name's addresses (IPv6 where there are no others), and for how long. Raises OSError, ValueError."""
        from dnslib import QTYPE

        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            for kind in (QTYPE.A, QTYPE.AAAA):
                found, seconds = await _exchange(reader, writer, name, kind)
                if found:
                    return found, seconds
        finally:
            writer.close()
        raise ValueError("it has no address")


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, kind: int
) -> tuple[list[str], float]:
    from dnslib import RCODE, DNSError, DNSHeader, DNSQuestion, DNSRecord

    question = DNSRecord(DNSHeader(id=secrets.randbits(16), rd=1), q=DNSQuestion(name, kind))
    try:
        data = bytes(question.pack())
    except (DNSError, ValueError) as error:
        raise ValueError(str(error)) from error
    writer.write(struct.pack("!H", len(data)) + data)
    (size,) = struct.unpack("!H", await reader.readexactly(2))
    try:
        answer = DNSRecord.parse(await reader.readexactly(size))
    except (DNSError, ValueError) as error:
        raise ValueError(str(error)) from error
    if answer.header.id != question.header.id:
        raise ValueError("the answer is to another question")
    code = RCODE.get(answer.header.rcode)
    if code != "NOERROR":
        raise ValueError(f"the DNS answers {code}")
    records = [r for r in answer.rr if r.rtype == kind]
    return [str(r.rdata) for r in records], float(min((r.ttl for r in answer.rr), default=0))
