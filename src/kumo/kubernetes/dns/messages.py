"""DNS messages: bytes to questions, answers to bytes that fit (RFC 1035, RFC 6891 for larger datagrams)."""

from __future__ import annotations

from dnslib import EDNS0, QR, QTYPE, RCODE, RR, DNSError, DNSHeader, DNSRecord

PLAIN_SIZE = 512
"""What a datagram may hold for a client that does not speak EDNS."""
LARGEST_SIZE = 1232
"""What we send at most in a datagram, whatever the client says: it passes everywhere without fragments."""


_SMALLEST = 16
"""Bytes of an answer's record at least: an A record whose name is a pointer."""


def parse(data: bytes) -> DNSRecord | None:
    """The query, or None for what deserves no answer: garbage, or an answer."""
    try:
        query = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError):
        return None
    return query if query.header.qr == QR.QUERY else None


def format_error(data: bytes) -> bytes:
    """The answer to a query that can't be read, if at least its header can; else nothing."""
    if len(data) < 12 or data[2] & 0x80:
        return b""
    header = DNSHeader(id=int.from_bytes(data[:2], "big"), qr=1, rcode=RCODE.FORMERR)
    return bytes(DNSRecord(header).pack())


def reply_to(query: DNSRecord, *, code: int = RCODE.NOERROR, authoritative: bool = False) -> DNSRecord:
    """An answer without records."""
    header = DNSHeader(
        id=query.header.id,
        qr=1,
        aa=int(authoritative),
        rd=query.header.rd,
        ra=1,
        rcode=code,
        opcode=query.header.opcode,
    )
    return DNSRecord(header, questions=list(query.questions))


def _option(query: DNSRecord) -> RR | None:
    return next((r for r in query.ar if r.rtype == QTYPE.OPT), None)


def speaks_newer_edns(query: DNSRecord) -> bool:
    """Whether the query comes with a version of EDNS that we don't know (RFC 6891, section 6.1.3)."""
    option = _option(query)
    return option is not None and bool(option.ttl >> 16 & 0xFF)


def bad_version(query: DNSRecord) -> bytes:
    """The answer to such a query: BADVERS, and the version that we know."""
    reply = reply_to(query)
    reply.ar = [EDNS0(udp_len=LARGEST_SIZE, ext_rcode=1)]
    return bytes(reply.pack())


def pack(reply: DNSRecord, query: DNSRecord, *, datagram: bool) -> bytes:
    """The bytes of the answer; a datagram that would be too large is cut and marked, so that the client asks by TCP."""
    option = _option(query)
    extra = [r for r in reply.ar if r.rtype != QTYPE.OPT]
    reply.ar = extra
    if option is not None:
        reply.ar = [*extra, EDNS0(udp_len=LARGEST_SIZE)]
    size = 65535
    if datagram:
        size = min(max(option.edns_len, PLAIN_SIZE), LARGEST_SIZE) if option is not None else PLAIN_SIZE
    if len(reply.rr) > size // _SMALLEST:  # It can't fit: to pack thousands of records in vain takes long.
        reply.rr, reply.header.tc = reply.rr[: size // _SMALLEST], 1
        reply.ar = [r for r in reply.ar if r.rtype == QTYPE.OPT]
    data = bytes(reply.pack())
    if len(data) <= size:
        return data
    # Additional records are a courtesy; without them it may fit.
    reply.ar = [r for r in reply.ar if r.rtype == QTYPE.OPT]
    data = bytes(reply.pack())
    if len(data) <= size:
        return data
    reply.header.tc = 1
    while reply.rr and len(data) > size:
        over, each = len(data) - size, len(data) // len(reply.rr)
        reply.rr = reply.rr[: -1 - over // (each + 1)]
        reply.auth = []
        data = bytes(reply.pack())
    return data
