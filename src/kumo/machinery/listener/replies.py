"""Writing answers: heads, whole bodies, streams, and the bodies of refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus

import msgspec
from aiohttp.helpers import rfc822_formatted_time

from kumo.api.errors import StatusError
from kumo.machinery.http import Feed, HeaderLines, Response

_encode = msgspec.json.Encoder().encode
BODILESS = frozenset({204, 304})
_REMEMBERED = 64 << 10


def status_response(error: StatusError) -> Response:
    """The answer that a refusal is: its `Status` object, its code and headers."""
    return Response(error.code, _encode(error.status), "application/json", error.headers)


@lru_cache(maxsize=256)
def _start_of_head(status: int, content_type: str, version: str) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    line = f"HTTP/{version} {status} {phrase}\r\n"
    if content_type and status not in BODILESS:
        line += f"Content-Type: {content_type}\r\n"
    return line


def head(
    response: Response,
    length: int | None,
    *,
    chunked: bool = False,
    close: bool = False,
    http10: bool = False,
) -> bytes:
    """The head of an answer. Raises ValueError for a header that would break the line structure."""
    text = _start_of_head(response.status, response.content_type, "1.0" if http10 else "1.1")
    for name, value in response.headers.items():
        if "\r" in value or "\n" in value or "\r" in name or "\n" in name:
            raise ValueError(f"the header {name!r} has a line break in its value {value!r}")
        if type(value) is HeaderLines:
            text += "".join(f"{name}: {line}\r\n" for line in value.lines)
        else:
            text += f"{name}: {value}\r\n"
    if length is not None and response.status not in BODILESS:
        text += f"Content-Length: {length}\r\n"
    elif chunked:
        text += "Transfer-Encoding: chunked\r\n"
    if close:
        text += "Connection: close\r\n"
    elif http10:
        text += "Connection: keep-alive\r\n"
    return f"{text}Date: {rfc822_formatted_time()}\r\n\r\n".encode()


def declared_length(headers: Mapping[str, str]) -> int | None:
    """The Content-Length that a handler set itself, if it did."""
    for name, value in headers.items():
        if name.lower() == "content-length":
            return int(value)
    return None


class Framing:
    """Chunks as HTTP frames them. The last is remembered: an event goes to many clients, one after the other."""

    __slots__ = ("_chunk", "_framed")

    def __init__(self) -> None:
        self._chunk = self._framed = b""

    def of(self, chunk: bytes) -> bytes:
        """The chunk with its length before it, and its end."""
        if chunk is self._chunk:
            return self._framed
        framed = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        if len(chunk) <= _REMEMBERED:
            self._chunk, self._framed = chunk, framed
        return framed


async def close_iterator(body: bytes | Sequence[bytes] | AsyncIterator[bytes] | Feed) -> None:
    """Let an unused or abandoned body iterator run its clean-up."""
    aclose = getattr(body, "aclose", None)
    if aclose is not None:
        await aclose()
