"""Whether what listens at etcd's address speaks as we do: gRPC tells a closed connection in both cases, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from kumo.store.base import Unavailable
from kumo.store.etcd.address import EtcdAddress

_SECONDS = 1.0
_QUESTION = b"GET /version HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n"


async def mismatch(address: EtcdAddress) -> None:
    """Raise Unavailable when we speak TLS and a member does not, or the reverse. Those that are down tell nothing."""
    for endpoint in address.endpoints:
        if address.ca is None and await _shakes_hands(endpoint):
            raise Unavailable(f"etcd ({endpoint}) speaks TLS: give --store-ca, the CA of its certificate")
        if address.ca is not None and await _answers_plainly(endpoint):
            text = f"etcd ({endpoint}) does not speak TLS: leave out --store-ca, --store-cert and --store-key"
            raise Unavailable(text)


async def _shakes_hands(endpoint: str) -> bool:
    """Whether a TLS handshake succeeds, whoever the other side is and whatever it then wants of us."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return await _ask(endpoint, context) is not None
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")


async def _answers_plainly(endpoint: str) -> bool:
    """Whether a plain HTTP request is answered with more than the refusal of a server that wants TLS (400)."""
    answer = await _ask(endpoint, None)
    return answer is not None and answer.startswith(b"HTTP/") and b" 400 " not in answer[:20]


async def _ask(endpoint: str, context: ssl.SSLContext | None) -> bytes | None:
    """What comes back for a request; None when there is no connection. Raises SSLError."""
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
            try:
                writer.write(_QUESTION)
                return await reader.read(512)
            except OSError:
                return b""
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except ssl.SSLError:
        raise
    except (OSError, TimeoutError, ValueError):
        return None
