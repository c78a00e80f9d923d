"""A load generator thin enough not to be what is measured: HTTP/1.1 over TLS on plain asyncio streams.

Runs in a process of its own; speaks to any Kubernetes API server with a client certificate or a bearer token.
"""

from __future__ import annotations

import asyncio
import base64
import resource
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


@dataclass(frozen=True, slots=True)
class Target:
    """An API server and how to prove oneself to it."""

    host: str
    port: int
    tls: ssl.SSLContext
    authorization: str


def target(kubeconfig: Path) -> Target:
    """The server of the kubeconfig's current context."""
    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    if "client-certificate-data" in user:
        with tempfile.TemporaryDirectory() as folder:
            cert, key = Path(folder, "c"), Path(folder, "k")
            cert.write_bytes(base64.b64decode(user["client-certificate-data"]))
            key.write_bytes(base64.b64decode(user["client-key-data"]))
            tls.load_cert_chain(cert, key)
    url = urlsplit(cluster["server"])
    authorization = f"authorization: Bearer {user['token']}\r\n" if "token" in user else ""
    return Target(url.hostname or "", url.port or 443, tls, authorization)


class Connection:
    """One kept-alive connection."""

    def __init__(self, where: Target) -> None:
        self.where = where
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> Connection:
        """Connect."""
        where = self.where
        self._reader, self._writer = await asyncio.open_connection(where.host, where.port, ssl=where.tls, limit=1 << 24)
        return self

    def close(self) -> None:
        """Let go."""
        self._writer.close()

    def send(self, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
        """Send a request."""
        kind = "content-type: application/json\r\n" if body and "content-type" not in headers else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self.where.host}\r\naccept: application/json\r\n"
            f"{self.where.authorization}{kind}{headers}content-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        """An answer's status and headers (lower-case names)."""
        lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        pairs = (line.partition(b":") for line in lines[1:] if line)
        return int(lines[0].split()[1]), {k.strip().lower(): v.strip() for k, _, v in pairs}

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body, empty at its end."""
        size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
        data = await self._reader.readexactly(size + 2)
        return data[:-2]

    async def answer(self) -> tuple[int, bytes]:
        """A whole answer."""
        status, headers = await self.head()
        if headers.get(b"transfer-encoding") == b"chunked":
            parts = []
            while data := await self.chunk():
                parts.append(data)
            return status, b"".join(parts)
        return status, await self._reader.readexactly(int(headers.get(b"content-length", b"0")))

    async def call(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """One request and its answer, on a new connection if the server has closed this one meanwhile, as idle."""
        if self._reader.at_eof():
            self._writer.close()
            await self.open()
        self.send(method, path, body, headers)
        return await self.answer()


def idle_watches(where: Target, path: str, count: int) -> list[ssl.SSLSocket]:
    """Open that many watches, one a connection, whose heads have been read; plain sockets, which need little here."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = f"GET {path} HTTP/1.1\r\nhost: {where.host}\r\n{where.authorization}\r\n".encode()
    found = []
    for _ in range(count):
        plain = socket.create_connection((where.host, where.port), timeout=60)
        secure = where.tls.wrap_socket(plain, server_hostname=where.host)
        secure.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += secure.recv(4096)
        assert head.startswith(b"HTTP/1.1 200"), head[:200]
        found.append(secure)
    return found
