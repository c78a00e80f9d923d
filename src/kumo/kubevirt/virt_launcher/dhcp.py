"""DHCPv4 answers for a single client, as a pure function of bytes (RFC 2131, RFC 2132, RFC 3442, RFC 3397)."""

from __future__ import annotations

import socket
import struct

from kumo.kubevirt.common.launcher_options import Lease

SERVER_PORT = 67
CLIENT_PORT = 68
_MAGIC = b"\x63\x82\x53\x63"
_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK, _INFORM = 1, 2, 3, 5, 6, 8
_INFINITE = 0xFFFFFFFF
_OPTION_PAD, _OPTION_END = 0, 255


def parse_options(packet: bytes) -> dict[int, bytes] | None:
    """The options of a BOOTP request by number; None if the packet is no DHCP request."""
    if len(packet) < 240 or packet[0] != 1 or packet[236:240] != _MAGIC:
        return None
    options: dict[int, bytes] = {}
    at = 240
    while at < len(packet) and packet[at] != _OPTION_END:
        code = packet[at]
        if code == _OPTION_PAD:
            at += 1
            continue
        if at + 2 > len(packet):
            return None
        length = packet[at + 1]
        options[code] = options.get(code, b"") + packet[at + 2 : at + 2 + length]
        at += 2 + length
    return options


def _option(code: int, value: bytes) -> bytes:
    """An option; one longer than 255 bytes is split (RFC 3396)."""
    parts = [value[i : i + 255] for i in range(0, len(value), 255)] or [b""]
    return b"".join(bytes((code, len(part))) + part for part in parts)


def _domain_search(names: tuple[str, ...]) -> bytes:
    """Names as DNS labels, without compression."""
    found = b""
    for name in names:
        for label in name.strip(".").split("."):
            encoded = label.encode("ascii", "ignore")[:63]
            if encoded:
                found += bytes((len(encoded),)) + encoded
        found += b"\0"
    return found


def _classless_routes(lease: Lease) -> bytes:
    """Option 121. A client that reads it ignores option 3 (the router), so the default route is in here too."""
    found = b""
    for destination, prefix, gateway in lease.routes:
        significant = socket.inet_aton(destination)[: (prefix + 7) // 8]
        found += bytes((prefix,)) + significant + socket.inet_aton(gateway)
    return found


def lease_options(lease: Lease) -> bytes:
    """What an offer or acknowledgement says of the network."""
    mask = struct.pack(">I", (0xFFFFFFFF << (32 - lease.prefix)) & 0xFFFFFFFF)
    found = _option(51, struct.pack(">I", _INFINITE)) + _option(1, mask)
    if lease.router:
        found += _option(3, socket.inet_aton(lease.router))
    if lease.dns:
        found += _option(6, b"".join(socket.inet_aton(address) for address in lease.dns))
    if lease.hostname:
        found += _option(12, lease.hostname.encode("ascii", "ignore")[:63])
    if lease.mtu:
        found += _option(26, struct.pack(">H", lease.mtu))
    if lease.search:
        found += _option(15, lease.search[0].encode("ascii", "ignore")) + _option(119, _domain_search(lease.search))
    if lease.routes:
        found += _option(121, _classless_routes(lease))
    return found


def answer(packet: bytes, lease: Lease) -> bytes | None:
    """The reply to one packet from the bridge, or None for what is not ours: another client's, or no request.

    A request for another address than the lease's is refused (NAK), so that a guest with an old lease starts anew.
    """
    options = parse_options(packet)
    if options is None or packet[28:34] != bytes.fromhex(lease.mac.replace(":", "")):
        return None
    kind = (options.get(53) or b"\0")[0]
    server = socket.inet_aton(lease.server)
    address = socket.inet_aton(lease.address)
    if kind == _REQUEST and options.get(54, server) != server:
        return None  # the client chose another server
    if kind == _DISCOVER:
        reply = _OFFER
    elif kind == _REQUEST:
        wanted = options.get(50) or packet[12:16]
        reply = _ACK if wanted == address else _NAK
    elif kind == _INFORM:
        reply = _ACK
    else:
        return None
    given = b"\0\0\0\0" if reply == _NAK or kind == _INFORM else address
    header = struct.pack(">BBBB", 2, 1, 6, 0) + packet[4:8] + b"\0\0" + b"\x80\0"
    header += packet[12:16] + given + server + b"\0\0\0\0" + packet[28:44] + b"\0" * 192 + _MAGIC
    body = _option(53, bytes((reply,))) + _option(54, server)
    if reply != _NAK:
        body += lease_options(lease)
    return header + body + bytes((_OPTION_END,))
