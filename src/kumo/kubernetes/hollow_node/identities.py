"""Who hollow nodes are towards the API server: each `system:node:<name>`, by a certificate of its own or on trust.

`OwnCertificates` enrols every node as a kubelet does (a signing request, approved and signed by the cluster). With
`Impersonation` all share the connections of one administrator, who speaks for them: a thousand nodes in a few sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

from kumo.machinery.client import Client, Reply, Transport
from kumo.machinery.enrolment import enrol, node_request
from kumo.machinery.http import WebSocket
from kumo.machinery.kubeconfig import Access
from kumo.machinery.transport import HttpTransport

_AT_ONCE = 16
"""So many certificates are asked for at a time."""


class Identities(Protocol):
    """Gives each node its client; `close` lets go of their connections."""

    async def client(self, node: str) -> Client:
        """The client of that node. Raises StatusError, ConnectionError or EnrolmentError."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


class OwnCertificates:
    """A key and a certificate for each node; `client` asks for them, `access` says where the server is."""

    def __init__(self, client: Client, access: Access) -> None:
        self._client = client
        self._access = access
        self._transports: list[HttpTransport] = []
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def client(self, node: str) -> Client:
        """Enrol the node."""
        wanted = node_request(node)
        async with self._turns:
            cert = await enrol(self._client, wanted, prefix="node-csr-")
        own = replace(
            self._access, cert=cert, key=wanted.key, token="", token_file="", username="", password=""
        ).transport()
        self._transports.append(own)
        return Client(own)

    async def close(self) -> None:
        """Let go of the nodes' connections."""
        for transport in self._transports:
            await transport.close()


class Impersonation:
    """One transport for all nodes, whose user may impersonate them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def client(self, node: str) -> Client:
        """A client that speaks as the node."""
        return Client(_SpeaksFor(self._transport, node))

    async def close(self) -> None:
        """The transport is its owner's to close."""


class _SpeaksFor:
    """A transport whose every request says for whom it is."""

    def __init__(self, transport: Transport, node: str) -> None:
        self._transport = transport
        self._headers = {"impersonate-user": f"system:node:{node}", "impersonate-group": "system:nodes"}

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Reply:
        """As the transport's."""
        sent = {**(headers or {}), **self._headers}
        return await self._transport.request(method, path, query=query, headers=sent, body=body)

    def stream(
        self, method: str, path: str, *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]:
        """As the transport's."""
        return self._transport.stream(method, path, query=query, headers={**(headers or {}), **self._headers})

    def websocket(
        self, path: str, *, query: str = "", protocols: tuple[str, ...] = ()
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Hollow nodes open none."""
        raise NotImplementedError("hollow nodes open no WebSockets")

    async def close(self) -> None:
        """The transport is its owner's to close."""
