"""The older forms of exec's and attach's WebSocket, for clients that speak no newer one; the node is spoken to in v4.

`channel.k8s.io` tells a failure as plain text on the error channel, and a success not at all; the `base64` forms send
text messages: the channel's digit, then base64. Upstream: `k8s.io/streaming` remotecommand and wsstream.
"""

from __future__ import annotations

import base64
import binascii
import json

from kumo.machinery.http import Upgrade, WebSocket

V4_BASE64 = "v4.base64.channel.k8s.io"
FIRST, FIRST_BASE64 = "channel.k8s.io", "base64.channel.k8s.io"
OLDER_PROTOCOLS = (V4_BASE64, FIRST, FIRST_BASE64)
_ERROR = 3


class OlderChannels:
    """A client's WebSocket of an older protocol, as one of v4."""

    def __init__(self, client: WebSocket, protocol: str) -> None:
        self._client = client
        self.protocol = protocol
        self._text = protocol in (V4_BASE64, FIRST_BASE64)
        self._plain_errors = protocol != V4_BASE64

    async def receive(self) -> bytes | str | None:
        """The client's next message; what can't be decoded is an empty one."""
        message = await self._client.receive()
        if message is None or not self._text:
            return message
        raw = message.encode() if isinstance(message, str) else message
        if not raw[:1].isdigit():
            return b""
        try:
            return bytes((int(raw[:1]),)) + base64.b64decode(raw[1:])
        except binascii.Error:
            return b""

    async def send(self, data: bytes | str) -> None:
        """Send what the node sent. Raises ConnectionError once the client is gone."""
        raw = data.encode() if isinstance(data, str) else data
        if self._plain_errors and len(raw) > 1 and raw[0] == _ERROR:
            text = _plain(raw[1:])
            if not text:
                return
            raw = bytes((_ERROR,)) + text.encode()
        if not raw or not self._text:
            await self._client.send(raw)
        else:
            await self._client.send(str(raw[0]) + base64.b64encode(raw[1:]).decode())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the client's connection."""
        await self._client.close(code, reason)

    @property
    def close_code(self) -> int | None:
        """The code that the client's connection was closed with."""
        return self._client.close_code


def _plain(status: bytes) -> str:
    """The message of a Status, empty for a success."""
    try:
        found = json.loads(status)
        return "" if found.get("status") == "Success" else str(found.get("message") or "")
    except (ValueError, AttributeError):
        return status.decode(errors="replace")


def as_older(protocol: str, node: Upgrade) -> Upgrade:
    """The same session for a client of an older protocol."""

    async def run(client: WebSocket) -> None:
        await node.run(OlderChannels(client, protocol))

    return Upgrade(protocol, run)
