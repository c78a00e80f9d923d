"""Asking a container over the network whether it is well: an HTTP GET, a TCP connection, a gRPC health check.

Upstream: `pkg/probe/http`, `pkg/probe/tcp`, `pkg/probe/grpc`; what goes wrong is worded as Go words it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import grpc
import grpc.aio

from kumo.api.kubernetes_version import VERSION
from kumo.kubernetes.kubelet.spec import Container

_BODY_LIMIT = 10 << 10
_SERVING = 1
_HEALTH = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_REDIRECTS = 10
AGENT = f"kube-probe/{VERSION.rpartition('.')[0]}"


class CheckFailed(Exception):
    """The other side did not answer as it should; the text says why, as Go's libraries do."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A GET. `host` is where to connect; the Host header is it too unless `headers` has one."""

    scheme: str
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.scheme}://{join(self.host, self.port)}{self.path}"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The status, the body's beginning, and whether a redirect to another host was not followed."""

    status: int
    body: str
    elsewhere: bool = False


def join(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def quoted(text: str) -> str:
    """The text in double quotes, as Go's %q (for what is printable)."""
    return json.dumps(text, ensure_ascii=False)


def resolve_port(port: int | str, container: Container) -> int:
    """A port by number or by the name it has in the container. Raises ValueError."""
    if isinstance(port, int):
        number = port
    else:
        named = next((p["containerPort"] for p in container.get("ports") or () if p.get("name") == port), None)
        if named is None and not port.isdigit():
            raise ValueError(f"couldn't find port: {port} in container: {container.get('name', '')}")
        number = int(named if named is not None else port)
    if not 0 < number < 65536:
        raise ValueError(f"invalid port number: {number}")
    return number


def from_action(action: Mapping[str, Any], container: Container, pod_ip: str, agent: str = AGENT) -> HttpRequest:
    """The request that an HTTPGetAction asks for. Raises ValueError."""
    headers = [(h["name"].title(), h.get("value") or "") for h in action.get("httpHeaders") or ()]
    names = {n for n, _ in headers}
    if "User-Agent" not in names:
        headers.append(("User-Agent", agent))
    if "Accept" not in names:
        headers.append(("Accept", "*/*"))
    parts = urlsplit(action.get("path") or "")
    path = quote("/" + parts.path.lstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    return HttpRequest(
        scheme=(action.get("scheme") or "HTTP").lower(),
        host=action.get("host") or pod_ip,
        port=resolve_port(action["port"], container),
        path=path + (f"?{parts.query}" if parts.query else ""),
        headers=tuple((n, v) for n, v in headers if (n, v) != ("Accept", "")),
    )


async def fetch(request: HttpRequest, timeout: float) -> HttpAnswer:
    """Send the request; redirects to the same host are followed. Raises CheckFailed."""
    first = request
    try:
        async with asyncio.timeout(timeout):
            for _ in range(_REDIRECTS):
                status, location, body = await _get(request)
                if status not in (301, 302, 303, 307, 308) or not location:
                    return HttpAnswer(status, body)
                target = urlsplit(urljoin(request.url, location))
                if target.hostname != urlsplit(first.url).hostname:
                    return HttpAnswer(status, body, elsewhere=True)
                port = target.port or (443 if target.scheme == "https" else 80)
                path = (target.path or "/") + (f"?{target.query}" if target.query else "")
                headers = tuple((n, v) for n, v in request.headers if n != "Host")
                request = replace(request, scheme=target.scheme, port=port, path=path, headers=headers)
            raise CheckFailed(f"Get {quoted(request.path)}: stopped after {_REDIRECTS} redirects")
    except TimeoutError as error:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        raise CheckFailed(f"Get {quoted(request.url)}: {why}") from error
    except (OSError, ValueError) as error:
        raise CheckFailed(f"Get {quoted(request.url)}: {dial_error(error, request.host, request.port)}") from error


def dial_error(error: Exception, host: str, port: int) -> str:
    """Why a connection failed, as Go says it."""
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"):
            return "http: server gave HTTP response to HTTPS client"
        return f"remote error: tls: {(error.reason or 'handshake failure').lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return f"dial tcp {join(host, port)}: i/o timeout"
    if isinstance(error, ConnectionResetError):
        return "read: connection reset by peer"
    if isinstance(error, OSError) and error.errno:
        return f"dial tcp {join(host, port)}: connect: {os.strerror(error.errno).lower()}"
    return str(error) or "EOF"


async def _get(request: HttpRequest) -> tuple[int, str, str]:
    context = None
    if request.scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(request.host, request.port, ssl=context)
    try:
        given = [(n, v) for n, v in request.headers if n != "Host"]
        host = next((v for n, v in request.headers if n == "Host"), "") or join(request.host, request.port)
        lines = [
            f"GET {request.path} HTTP/1.1",
            f"Host: {host}",
            *(f"{k}: {v}" for k, v in given),
            "Connection: close",
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        first = await reader.readline()
        if not first:
            raise OSError("EOF")
        status_line = first.decode("latin-1").split(" ", 2)
        if len(status_line) < 2 or not status_line[0].startswith("HTTP/") or not status_line[1].isdigit():
            text = first.decode("latin-1").strip()[:64]
            raise OSError(f"net/http: HTTP/1.x transport connection broken: malformed HTTP response {quoted(text)}")
        location = ""
        while line := (await reader.readline()).decode("latin-1").strip():
            name, _, value = line.partition(":")
            if name.lower() == "location":
                location = value.strip()
        body = b""
        with contextlib.suppress(OSError):
            while len(body) < _BODY_LIMIT and (more := await reader.read(_BODY_LIMIT - len(body))):
                body += more
        return int(status_line[1]), location, body.decode(errors="replace")
    finally:
        writer.close()


async def tcp_connect(host: str, port: int, timeout: float) -> None:
    """Connect and close. Raises CheckFailed."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except OSError as error:
        raise CheckFailed(dial_error(error, host, port)) from error


async def grpc_health(host: str, port: int, service: str, timeout: float) -> None:
    """Ask `grpc.health.v1.Health/Check`. Raises CheckFailed unless it serves."""
    target = join(host, port)
    options = [("grpc.enable_http_proxy", 0), ("grpc.primary_user_agent", AGENT)]
    # Without a pool of its own, a connection that failed before would still be backing off.
    options.append(("grpc.use_local_subchannel_pool", 1))
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), timeout)
        except TimeoutError as error:
            text = f'timeout: failed to connect service "{target}" within {timeout:g}s: context deadline exceeded'
            raise CheckFailed(text) from error
        call = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer: bytes = await call(_health_request(service), timeout=max(0.001, end - loop.time()))
        except grpc.aio.AioRpcError as error:
            raise CheckFailed(_rpc_error(error, timeout)) from error
    # HealthCheckResponse: field 1, a varint; 0 is not written.
    status = answer[1] if len(answer) >= 2 and answer[0] == 8 else 0
    if status != _SERVING:
        raise CheckFailed(f"service unhealthy (responded with {quoted(_HEALTH.get(status, str(status)))})")


def _health_request(service: str) -> bytes:
    """A HealthCheckRequest: field 1, the service's name."""
    name = service.encode()
    if not name:
        return b""
    length, size = b"", len(name)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return b"\x0a" + length + bytes([size]) + name


def _rpc_error(error: grpc.aio.AioRpcError, timeout: float) -> str:
    details = error.details() or ""
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {details}"
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"timeout: health rpc did not complete within {timeout:g}s"
    code = "".join(word.capitalize() for word in error.code().name.split("_"))
    return f"error: health rpc probe failed: rpc error: code = {code} desc = {details}"
