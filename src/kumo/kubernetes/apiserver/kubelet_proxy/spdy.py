"""SPDY/3.1 as kubectl speaks it inside a WebSocket: frames in, frames out. Pure, no I/O.

The draft is "SPDY Protocol - Draft 3.1". Flow control is left out, as both of Kubernetes' ends leave it out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
DATA = 0
FIN = 0x01
LARGEST_FRAME = 1 << 24
PROTOCOL_ERROR, CANCEL = 1, 5
_VERSION = 0x8003


def _dictionary() -> bytes:
    """The preset dictionary of header compression (section 2.6.10.1 of the draft): length-prefixed words, then text."""
    words = (
        "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age "
        "allow authorization cache-control connection content-base content-encoding content-language content-length "
        "content-location content-md5 content-range content-type date etag expect expires from host if-match "
        "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
        "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
        "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
        "keep-alive origin"
    )
    codes = (
        "100 101 201 202 205 206 300 302 303 304 305 306 307 402 405 406 407 408 409 410 411 412 413 414 415 416 417 "
        "502 504 505"
    )
    lines = (
        "203 Non-Authoritative Information",
        "204 No Content",
        "301 Moved Permanently",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "500 Internal Server Error",
        "501 Not Implemented",
        "503 Service Unavailable",
        "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
        "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,",
        "text/javascript,public",
        "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
    )
    prefixed = b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in words.split())
    return prefixed + codes.replace(" ", "").encode() + "".join(lines).encode()


class Frame(NamedTuple):
    """One frame. `kind` is DATA or a control type; `stream` is the ping's number for PING."""

    kind: int
    stream: int
    flags: int = 0
    data: bytes = b""
    headers: Mapping[str, str] = {}

    @property
    def fin(self) -> bool:
        """Whether the sender says no more on this stream."""
        return bool(self.flags & FIN)


class SpdyError(Exception):
    """What came is not SPDY/3.1."""


class Decoder:
    """Bytes to frames, in whatever pieces they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=_dictionary())

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. Raises SpdyError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            word, rest = struct.unpack_from(">II", self._buffer)
            length = rest & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            flags = rest >> 24
            if not word & 0x80000000:
                yield Frame(DATA, word, flags, body)
            elif word >> 16 != _VERSION:
                raise SpdyError(f"frame of version {(word >> 16) & 0x7FFF}, expected 3")
            else:
                frame = self._control(word & 0xFFFF, flags, body)
                if frame is not None:
                    yield frame

    def _control(self, kind: int, flags: int, body: bytes) -> Frame | None:
        try:
            if kind == SYN_STREAM:
                (stream,) = struct.unpack_from(">I", body)
                return Frame(kind, stream & 0x7FFFFFFF, flags, b"", self._headers(body[10:]))
            if kind in (SYN_REPLY, HEADERS):
                (stream,) = struct.unpack_from(">I", body)
                return Frame(kind, stream & 0x7FFFFFFF, flags, b"", self._headers(body[4:]))
            if kind in (RST_STREAM, PING, GOAWAY, WINDOW_UPDATE):
                (number,) = struct.unpack_from(">I", body)
                if kind != PING:
                    number &= 0x7FFFFFFF
                return Frame(kind, number, flags, body[4:])
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a malformed control frame of type {kind}: {error}") from error
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, LARGEST_FRAME)
        (count,) = struct.unpack_from(">I", plain)
        at = 4
        found: dict[str, str] = {}
        for _ in range(count):
            words = []
            for _ in range(2):
                (size,) = struct.unpack_from(">I", plain, at)
                words.append(plain[at + 4 : at + 4 + size].decode())
                at += 4 + size
            found[words[0].lower()] = words[1].replace("\0", ",")
        return found


class Encoder:
    """Frames to bytes. One per connection: header compression has a memory."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=_dictionary())

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for word in (name.lower().encode(), value.encode()):
                plain += struct.pack(">I", len(word)) + word
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def syn_stream(self, stream: int, headers: Mapping[str, str], flags: int = 0) -> bytes:
        """Open a stream (what a client does)."""
        return _control(SYN_STREAM, flags, struct.pack(">IIH", stream, 0, 0) + self._block(headers))

    def syn_reply(self, stream: int, headers: Mapping[str, str] | None = None) -> bytes:
        """Accept a stream."""
        return _control(SYN_REPLY, 0, struct.pack(">I", stream) + self._block(headers or {}))


def data_frame(stream: int, data: bytes, *, fin: bool = False) -> bytes:
    """Bytes on a stream, and whether they are the last."""
    return struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(data)) + data


def reset(stream: int, status: int) -> bytes:
    """Break a stream off."""
    return _control(RST_STREAM, 0, struct.pack(">II", stream, status))


def ping(number: int) -> bytes:
    """A ping, or the answer to it: the same frame."""
    return _control(PING, 0, struct.pack(">I", number))


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", _VERSION, kind, flags << 24 | len(body)) + body
