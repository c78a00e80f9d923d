"""Messages: sizes, truncation, garbage."""

from __future__ import annotations

import pytest
from dnslib import EDNS0, QTYPE, RCODE, RR, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from kumo.kubernetes.dns import messages
from kumo.kubernetes.dns.forward import parse_servers

pytestmark = pytest.mark.unit


def many(query: DNSRecord, count: int) -> DNSRecord:
    reply = messages.reply_to(query, authoritative=True)
    reply.rr = [
        RR("big.shop.svc.cluster.local", QTYPE.A, rdata=A(f"10.244.{i // 250}.{i % 250}")) for i in range(count)
    ]
    return reply


@pytest.mark.parametrize(
    ("edns", "datagram", "limit", "cut"),
    [(0, True, 512, True), (4096, True, 1232, True), (700, True, 700, True), (0, False, 65535, False)],
)
def test_answers_fit_and_say_when_they_were_cut(edns: int, datagram: bool, limit: int, cut: bool) -> None:
    query = DNSRecord.question("big.shop.svc.cluster.local")
    if edns:
        query.add_ar(EDNS0(udp_len=edns))
    data = messages.pack(many(query, 200), query, datagram=datagram)
    assert len(data) <= limit
    parsed = DNSRecord.parse(data)
    assert bool(parsed.header.tc) is cut
    assert parsed.header.id == query.header.id
    assert [r.rtype for r in parsed.ar] == ([QTYPE.OPT] if edns else [])


def test_what_can_not_be_read_is_a_format_error() -> None:
    answer = DNSRecord.parse(messages.format_error(b"\x12\x34\x01\x00\x00\x01" + b"\0" * 6 + b"\xff"))
    assert (answer.header.id, answer.header.rcode) == (0x1234, RCODE.FORMERR)
    assert messages.format_error(b"short") == b""
    assert messages.format_error(bytes(DNSRecord.question("x").reply().pack())) == b""


@given(st.binary(max_size=100))
def test_garbage_never_raises(data: bytes) -> None:
    query = messages.parse(data)
    if query is None:
        messages.format_error(data)


def test_servers_of_a_resolv_conf() -> None:
    servers = ("192.0.2.1", "nonsense", "fe80::1%eth0", "1.1.1.1", "2.2.2.2")
    text = "# c\nsearch x\n" + "".join(f"nameserver {s}\n" for s in servers)
    assert parse_servers(text) == ["192.0.2.1", "fe80::1%eth0", "1.1.1.1"]
