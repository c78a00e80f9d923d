"""Asking an identity provider over HTTPS: one bounded answer, within ten seconds."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from kumo.machinery.tls import client_context
from kumo.machinery.transport import HttpTransport

_LARGEST = 1 << 20
_TIMEOUT = 10.0


class ProviderError(Exception):
    """The provider can't be reached or answers nonsense; the message says what to do about."""


async def fetch(url: str, ca: str, token: str = "") -> tuple[int, bytes]:
    """The status and the body of what is at the URL; `ca` is PEM text, empty for the system's. Raises ProviderError."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.netloc:
        raise ProviderError(f"{url}: not a https:// URL")
    tls = client_context(ca_data=ca) if ca else None
    transport = HttpTransport(
        f"https://{parts.netloc}", tls=tls, token=token, timeout=_TIMEOUT, connect_timeout=_TIMEOUT
    )
    try:
        async with (
            asyncio.timeout(_TIMEOUT),
            transport.stream("GET", parts.path or "/", query=parts.query) as (status, chunks),
        ):
            body = bytearray()
            async for chunk in chunks:
                body += chunk
                if len(body) > _LARGEST:
                    raise ProviderError(f"{url}: the answer is over {_LARGEST} bytes")
    except (ConnectionError, OSError, TimeoutError) as error:
        raise ProviderError(f"{url}: {error or 'no answer in time'}") from error
    finally:
        await transport.close()
    return status, bytes(body)
