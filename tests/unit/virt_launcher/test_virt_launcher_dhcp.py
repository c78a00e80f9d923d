from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.kubevirt.common.launcher_options import Lease
from kumo.kubevirt.virt_launcher import dhcp

pytestmark = pytest.mark.unit

MAC = "52:54:00:12:34:56"
LEASE = Lease(
    bridge="k6t-eth0",
    mac=MAC,
    address="10.0.2.2",
    prefix=24,
    server="10.0.2.1",
    router="10.0.2.1",
    mtu=1450,
    hostname="vm1",
    dns=("10.96.0.10", "1.1.1.1"),
    search=("default.svc.cluster.local", "svc.cluster.local"),
)


def request(kind: int, *, mac: str = MAC, options: bytes = b"", ciaddr: str = "0.0.0.0") -> bytes:
    header = struct.pack(">BBBBIHH", 1, 1, 6, 0, 0xDEADBEEF, 0, 0) + socket.inet_aton(ciaddr) + bytes(12)
    header += bytes.fromhex(mac.replace(":", "")) + bytes(10) + bytes(192) + b"\x63\x82\x53\x63"
    return header + bytes((53, 1, kind)) + options + b"\xff"


def reply_options(reply: bytes) -> dict[int, bytes]:
    found = dhcp.parse_options(b"\x01" + reply[1:])
    assert found is not None
    return found


def test_a_discover_is_answered_with_an_offer() -> None:
    reply = dhcp.answer(request(1), LEASE)
    assert reply is not None
    assert reply[0] == 2
    assert reply[4:8] == b"\xde\xad\xbe\xef"
    assert reply[16:20] == socket.inet_aton("10.0.2.2")
    assert reply[28:34] == bytes.fromhex("525400123456")
    options = reply_options(reply)
    assert options[53] == b"\x02"
    assert options[1] == b"\xff\xff\xff\x00"
    assert options[3] == options[54] == socket.inet_aton("10.0.2.1")
    assert options[6] == socket.inet_aton("10.96.0.10") + socket.inet_aton("1.1.1.1")
    assert options[12] == b"vm1"
    assert options[26] == struct.pack(">H", 1450)
    assert options[51] == b"\xff\xff\xff\xff"
    assert options[15] == b"default.svc.cluster.local"
    assert options[119].startswith(b"\x07default\x03svc\x07cluster\x05local\x00\x03svc")


def test_a_request_for_the_lease_is_acknowledged() -> None:
    reply = dhcp.answer(request(3, options=b"\x32\x04" + socket.inet_aton("10.0.2.2")), LEASE)
    assert reply is not None
    assert reply_options(reply)[53] == b"\x05"


def test_a_renewal_names_its_address_in_the_header() -> None:
    reply = dhcp.answer(request(3, ciaddr="10.0.2.2"), LEASE)
    assert reply is not None
    assert reply_options(reply)[53] == b"\x05"


def test_a_request_for_another_address_is_refused() -> None:
    reply = dhcp.answer(request(3, options=b"\x32\x04" + socket.inet_aton("10.9.9.9")), LEASE)
    assert reply is not None
    assert reply_options(reply)[53] == b"\x06"
    assert reply[16:20] == bytes(4)


@pytest.mark.parametrize(
    "packet",
    [
        request(1, mac="52:54:00:00:00:00"),
        request(3, options=b"\x36\x04" + socket.inet_aton("192.168.1.1")),
        request(4),
        b"",
        b"\x02" + request(1)[1:],
    ],
    ids=["another client", "another server", "decline", "nothing", "a reply"],
)
def test_what_is_not_ours_stays_unanswered(packet: bytes) -> None:
    assert dhcp.answer(packet, LEASE) is None


def test_static_routes_carry_the_default_route() -> None:
    lease = LEASE._replace(
        routes=(("169.254.1.1", 32, "0.0.0.0"), ("0.0.0.0", 0, "169.254.1.1"), ("10.1.0.0", 20, "1.2.3.4"))
    )
    reply = dhcp.answer(request(1), lease)
    assert reply is not None
    assert reply_options(reply)[121] == (
        b"\x20" + socket.inet_aton("169.254.1.1") + bytes(4)
        + b"\x00" + socket.inet_aton("169.254.1.1")
        + b"\x14\x0a\x01\x00" + socket.inet_aton("1.2.3.4")
    )  # fmt: skip


def test_a_long_option_is_split() -> None:
    lease = LEASE._replace(search=tuple(f"{'x' * 60}.example{i}.org" for i in range(6)))
    reply = dhcp.answer(request(1), lease)
    assert reply is not None
    assert reply_options(reply)[119].count(b"x" * 60) == 6


@given(st.binary(max_size=400))
def test_no_packet_breaks_the_server(packet: bytes) -> None:
    dhcp.answer(packet, LEASE)
    dhcp.answer(request(1)[:-1] + packet, LEASE)
