"""Asking a container over the network whether it is well: an HTTP GET, a TCP connection, a gRPC health check.

Upstream: `pkg/probe/http`, `pkg/probe/tcp`, `pkg/probe/grpc`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio

from kumo.kubernetes.kubelet.spec import Container

_BODY_LIMIT = 10 << 10
_SERVING = 1


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A GET. `host` is where to connect; the Host header is it too unless `headers` has one."""

    scheme: str
    host: str
    port: int
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


def resolve_port(port: int | str, container: Container) -> int:
    """A port by number or by the name it has in the container. Raises ValueError."""
    if isinstance(port, int):
        return port
    for known in container.get("ports") or ():
        if known.get("name") == port:
            return int(known["containerPort"])
    if port.isdigit():
        return int(port)
    raise ValueError(f"couldn't find port: {port}")


def from_action(action: Mapping[str, Any], container: Container, pod_ip: str) -> HttpRequest:
    """The request that an HTTPGetAction asks for. Raises ValueError."""
    headers = {h["name"]: h["value"] for h in action.get("httpHeaders") or ()}
    return HttpRequest(
        scheme=(action.get("scheme") or "HTTP").lower(),
        host=action.get("host") or pod_ip,
        port=resolve_port(action["port"], container),
        path="/" + (action.get("path") or "/").lstrip("/"),
        headers=headers,
    )


async def fetch(request: HttpRequest, timeout: float) -> tuple[int, str]:
    """The status and the body's beginning; redirects to the same host are followed. Raises OSError, TimeoutError."""
    async with asyncio.timeout(timeout):
        for _ in range(10):
            status, location, body = await _get(request)
            if not 300 <= status < 400 or not location:
                return status, body
            target = urlsplit(location)
            if target.hostname and target.hostname != request.host:
                return 200, "Probe terminated redirects"
            path = target.path + (f"?{target.query}" if target.query else "")
            request = HttpRequest(
                target.scheme or request.scheme, request.host, target.port or request.port, path, request.headers
            )
        raise OSError("stopped after 10 redirects")


async def _get(request: HttpRequest) -> tuple[int, str, str]:
    context = None
    if request.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(request.host, request.port, ssl=context)
    try:
        host = f"[{request.host}]" if ":" in request.host else request.host
        headers = {"Host": f"{host}:{request.port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*"}
        given = {k.title(): v for k, v in request.headers.items()}
        lines = [
            f"GET {request.path} HTTP/1.1",
            *(f"{k}: {v}" for k, v in (headers | given).items()),
            "Connection: close",
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        status_line = (await reader.readline()).decode("latin-1").split(" ", 2)
        if len(status_line) < 2 or not status_line[1].isdigit():
            raise OSError("malformed HTTP response")
        location = ""
        while line := (await reader.readline()).decode("latin-1").strip():
            name, _, value = line.partition(":")
            if name.lower() == "location":
                location = value.strip()
        body = b""
        with contextlib.suppress(OSError):
            body = await reader.read(_BODY_LIMIT)
        return int(status_line[1]), location, body.decode(errors="replace")
    finally:
        writer.close()


async def tcp_connect(host: str, port: int, timeout: float) -> None:
    """Connect and close. Raises OSError, TimeoutError."""
    async with asyncio.timeout(timeout):
        _, writer = await asyncio.open_connection(host, port)
        writer.close()


async def grpc_health(host: str, port: int, service: str, timeout: float) -> str:
    """Ask `grpc.health.v1.Health/Check`; an empty string if it serves, else why not."""
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer: bytes = await call(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"timeout: health rpc did not complete within {timeout:g}s"
            return f"error: health rpc probe failed: {error.details()}"
    # HealthCheckResponse: field 1, a varint.
    serving = len(answer) >= 2 and answer[0] == 8 and answer[1] == _SERVING
    return "" if serving else 'service unhealthy (responded with "NOT_SERVING")'
