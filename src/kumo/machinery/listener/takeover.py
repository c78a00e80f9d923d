"""A connection that carries another protocol than HTTP from here on (RFC 9110, 7.8), as SPDY does for exec."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from kumo.machinery.http import RawUpgrade

if TYPE_CHECKING:
    from kumo.machinery.listener.connection import Connection

_log = structlog.get_logger("kumo.listener")
_BUFFER = 1 << 18


class Taken:
    """The end of an exchange whose connection was taken over: nothing is left to write."""

    keep_alive = False
    body_length = 0
    status = 101

    async def prepare(self, _request: object) -> None:
        """Nothing: all has been written."""

    async def write_eof(self) -> None:
        """Nothing: the connection has ended."""


async def take_over(connection: Connection, answer: RawUpgrade, path: str) -> Taken:
    """Answer 101, give the connection's bytes to the upgrade, and close it when that has returned."""
    transport = connection.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    lines = [f"Upgrade: {answer.protocol}", *(f"{name}: {value}" for name, value in answer.headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header has a line break in its value")
    head = "\r\n".join(("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", *lines, "", ""))
    reader = asyncio.StreamReader(limit=_BUFFER)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport.set_protocol(protocol)  # From here on no byte is parsed as HTTP.
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    writer.write(head.encode("utf-8", "replace"))
    try:
        await answer.run_raw(reader, writer)
    except ConnectionError:
        pass
    except Exception:
        _log.exception("an upgraded connection failed", path=path)
    finally:
        transport.set_protocol(connection)
        transport.close()
    return Taken()
