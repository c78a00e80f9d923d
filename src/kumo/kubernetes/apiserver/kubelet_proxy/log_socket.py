"""A pod's log over a WebSocket: each piece is a message, after an empty one that says that the connection stands.

Upstream: `wsstream.Reader` with its protocols; `base64.binary.k8s.io` is for clients that can't read binary messages.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterable

from kumo.machinery.http import Upgrade, WebSocket

BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"


def chosen(offered: list[str]) -> str | None:
    """The protocol to speak: none if the client names none, None if it knows no other."""
    if not offered:
        return ""
    return next((p for p in offered if p in (BINARY, BASE64)), None)


def log_upgrade(protocol: str, body: AsyncIterable[bytes]) -> Upgrade:
    """The answer that sends the log's pieces as messages."""

    async def run(socket: WebSocket) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await socket.send("" if protocol == BASE64 else b"")
                async for piece in body:
                    await socket.send(base64.b64encode(piece).decode() if protocol == BASE64 else piece)
            await socket.close()
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    return Upgrade(protocol, run)
