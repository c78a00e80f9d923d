"""This server's own questions to an aggregated one: discovery and OpenAPI. Bounded in size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.aggregation.backends import Backend, BadTrust, Transports
from kumo.kubernetes.apiserver.aggregation.forwarding import identity_headers
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.outbound.connections import Unresolved, endpoint
from kumo.kubernetes.apiserver.outbound.network_errors import told

PROBER = UserInfo("system:kube-aggregator", (MASTERS_GROUP,))
AGGREGATOR = UserInfo("system:aggregator", (MASTERS_GROUP, "system:authenticated"))


class Unanswered(Exception):
    """The backend did not answer as it should; the message is that of the condition Available."""


class Answered(NamedTuple):
    """What came back; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


async def ask(
    reader: Reader,
    transports: Transports,
    backend: Backend,
    path: str,
    *,
    accept: str,
    user: UserInfo,
    etag: str = "",
    limit: int,
    patience: float,
) -> Answered:
    """The backend's answer to a GET. Raises Unanswered, also for more than `limit` bytes or `patience` seconds."""
    try:
        address, port = endpoint(reader, backend.namespace, backend.service, backend.port)
        transport = transports.to(backend, (address, port))
    except (Unresolved, BadTrust) as error:
        raise Unanswered(str(error)) from None
    host = f"[{address}]" if ":" in address else address
    url = f"https://{host}:{port}{path}"
    headers = identity_headers(user)
    headers["Accept"] = accept
    if etag:
        headers["If-None-Match"] = etag
    body = bytearray()
    try:
        async with asyncio.timeout(patience), transport.exchange("GET", path, headers=headers) as (head, chunks):
            async for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    raise Unanswered(f'Get "{url}": the answer is larger than {limit} bytes')
    except (ConnectionError, TimeoutError, Unresolved) as error:
        cause = error.__cause__ or error
        raise Unanswered(f'Get "{url}": {told(cause, urlsplit(url).hostname or "", port)}') from error
    return Answered(head.status, head.headers, bytes(body), url)
