"""The protocols `v4.channel.k8s.io` and `v5.channel.k8s.io`: the first byte of a message says which stream it is.

0 stdin, 1 stdout, 2 stderr, 3 the final `Status`, 4 terminal sizes (JSON); in v5 also 255, whose next byte names the
stream that the sender has ended. Upstream: `k8s.io/apimachinery/pkg/util/remotecommand`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec

from kumo.machinery.http import WebSocket

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PROTOCOLS = (V5, V4)


class Message(NamedTuple):
    """One message: its channel and what it carries."""

    channel: int
    data: bytes


class Channels:
    """A WebSocket as numbered streams."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.protocol = socket.protocol

    async def send(self, channel: int, data: bytes) -> None:
        """Send on a channel. Raises ConnectionError once the client is gone."""
        await self._socket.send(bytes((channel,)) + data)

    async def messages(self) -> AsyncIterator[Message]:
        """What the client sends, until it closes."""
        while (raw := await self._socket.receive()) is not None:
            data = raw.encode() if isinstance(raw, str) else raw
            if data:
                yield Message(data[0], data[1:])

    async def close(self) -> None:
        """Close the connection."""
        await self._socket.close()


def choose(offered: list[str]) -> str:
    """The protocol to speak of those offered, empty if none is known."""
    return next((p for p in PROTOCOLS if p in offered), "")


def parse_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a resize message, or None if it is not one."""
    try:
        size = msgspec.json.decode(data)
        return int(size["Width"]), int(size["Height"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return None


def success() -> bytes:
    """The final status of a command that exited with 0."""
    return msgspec.json.encode({"metadata": {}, "status": "Success"})


def exit_status(command: list[str], code: int) -> bytes:
    """The final status of a command that exited with another code."""
    text = f"error executing command [{' '.join(command)}], exit code {code}"
    status: dict[str, Any] = {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {text}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
    return msgspec.json.encode(status)


def internal_error(text: str) -> bytes:
    """The final status when the command could not be run."""
    status: dict[str, Any] = {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {text}",
        "reason": "InternalError",
        "details": {"causes": [{"message": text}]},
        "code": 500,
    }
    return msgspec.json.encode(status)
