"""Probes against real servers: HTTP with all its options, TLS, redirects, TCP, gRPC; what is said when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from aiohttp import web

from kumo.api.conditions import condition
from kumo.kubernetes.kubelet import http_check
from kumo.machinery import tls
from support.kubelet import Node, running, running_node, status_of

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node"), crash_backoff_base=0.2) as found:
        yield found


class Site:
    """A web server of the test's own; `answers` maps a path to a status, or to where it redirects."""

    def __init__(self) -> None:
        self.answers: dict[str, int | str] = {}
        self.seen: list[web.Request] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        found = self.answers.get(request.path, 200)
        if isinstance(found, str):
            return web.Response(status=302, headers={"Location": found})
        return web.Response(status=found, text="body")


@contextlib.asynccontextmanager
async def site(context: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    found = Site()
    app = web.Application()
    app.router.add_get("/{rest:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await server.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


def fast(**action: Any) -> dict[str, Any]:
    return {**action, "periodSeconds": 1, "failureThreshold": 1}


async def test_an_http_probe_sends_what_it_is_told(node: Node) -> None:
    async with site() as server:
        headers = [{"name": "Host", "value": "shop.example"}, {"name": "X-Mark", "value": "1"}]
        headers += [{"name": "X-Mark", "value": "2"}, {"name": "Accept", "value": ""}]
        get = {"path": "/ready?deep=yes", "port": "web", "httpHeaders": headers}
        ports = [{"name": "web", "containerPort": server.port}]
        await node.create("asked", container={"readinessProbe": fast(httpGet=get), "ports": ports})
        await node.until("asked", running)
        request = server.seen[0]
        assert (request.path_qs, request.host) == ("/ready?deep=yes", "shop.example")
        assert request.headers.getall("X-Mark") == ["1", "2"]
        assert "Accept" not in request.headers
        assert request.headers["User-Agent"] == "kube-probe/1.36"
        server.answers["/ready"] = 503
        pod = await node.until("asked", lambda p: not status_of(p)["ready"])
        assert status_of(pod)["restartCount"] == 0
        assert await node.until_event("asked", "Unhealthy") == (
            "Readiness probe failed: HTTP probe failed with statuscode: 503"
        )
        await node.remove("asked")


async def test_redirects_stay_on_the_host_or_warn(node: Node) -> None:
    async with site() as server:
        server.answers |= {"/here": "/there", "/away": "http://elsewhere.example/", "/there": 200}
        away = {"path": "/away", "port": server.port}
        here = {"path": "/here", "port": server.port}
        await node.create("led", container={"readinessProbe": fast(httpGet=here), "livenessProbe": fast(httpGet=away)})
        await node.until("led", running)
        assert await node.until_event("led", "ProbeWarning") == (
            "Liveness probe warning: Probe terminated redirects, Response body: "
        )
        assert "/there" in [r.path for r in server.seen]
        await node.remove("led")


async def test_a_probe_over_tls_asks_for_no_proof(node: Node, tmp_path: Path) -> None:
    ca = tls.ensure_ca(tmp_path)
    own = tls.ensure_server_certificate(ca, tmp_path, "web", names=["other.example"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    async with site(context) as server:
        probe = fast(httpGet={"port": server.port, "scheme": "HTTPS"})
        await node.create("sealed", container={"readinessProbe": probe})
        await node.until("sealed", running)
        await node.remove("sealed")


async def test_a_port_that_nobody_listens_on(node: Node) -> None:
    http = {"httpGet": {"path": "/x", "port": 1}}
    container = {"readinessProbe": fast(**http), "startupProbe": fast(tcpSocket={"port": 1}) | {"failureThreshold": 90}}
    await node.create("deaf", container=container)
    assert await node.until_event("deaf", "Unhealthy") == (
        "Startup probe failed: dial tcp 127.0.0.1:1: connect: connection refused"
    )
    pod = await node.get("deaf")
    assert (status_of(pod)["started"], status_of(pod)["ready"]) == (False, False)
    await node.remove("deaf")
    with pytest.raises(http_check.CheckFailed) as caught:
        await http_check.fetch(http_check.from_action(http["httpGet"], {"name": "c"}, "127.0.0.1"), 1.0)
    assert str(caught.value) == 'Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused'


class Health:
    """A gRPC server that answers the health protocol; `status` by service, 1 is serving."""

    def __init__(self) -> None:
        self.status = {"": 1}
        self.asked: list[str] = []

    async def check(self, request: bytes, context: Any) -> bytes:
        service = request[2:].decode()
        self.asked.append(service)
        if service not in self.status:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b"\x08" + bytes([self.status[service]])


@contextlib.asynccontextmanager
async def health() -> AsyncIterator[tuple[Health, int]]:
    found = Health()
    server = grpc.aio.server()
    methods = {"Check": grpc.unary_unary_rpc_method_handler(found.check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield found, port
    finally:
        await server.stop(None)


async def test_grpc_probes_restart_what_does_not_serve(node: Node) -> None:
    async with health() as (server, port):
        server.status["shop"] = 1
        probes = {
            "livenessProbe": fast(grpc={"port": port, "service": "shop"}) | {"terminationGracePeriodSeconds": 1},
            "readinessProbe": fast(grpc={"port": port}),
        }
        await node.create("served", container=probes, terminationGracePeriodSeconds=60)
        await node.until("served", running)
        assert {"", "shop"} <= set(server.asked)
        server.status["shop"] = 2
        await node.until("served", lambda p: status_of(p)["restartCount"] == 1)
        server.status["shop"] = 1
        assert await node.until_event("served", "Unhealthy") == (
            'Liveness probe failed: service unhealthy (responded with "NOT_SERVING")'
        )
        assert await node.until_event("served", "Killing") == (
            "Container main failed liveness probe, will be restarted"
        )
        await node.remove("served")
        with pytest.raises(http_check.CheckFailed, match="code = NotFound desc = unknown service"):
            await http_check.grpc_health("127.0.0.1", port, "none", 5.0)
    with pytest.raises(http_check.CheckFailed, match=r"timeout: failed to connect service .* within 0.3s"):
        await http_check.grpc_health("127.0.0.1", port, "", 0.3)


async def test_a_command_that_takes_too_long(node: Node) -> None:
    probe = fast(exec={"command": ["sleep", "7"]}) | {"failureThreshold": 90, "timeoutSeconds": 1}
    await node.create("slow", container={"livenessProbe": probe})
    text = await node.until_event("slow", "Unhealthy", 20)
    assert text == 'Liveness probe failed: command timed out: "sleep 7" timed out after 1s'
    await node.remove("slow")


async def test_a_restarted_kubelet_keeps_what_was_ready(node: Node) -> None:
    async with site() as server:
        probe = {"httpGet": {"port": server.port}, "periodSeconds": 1, "failureThreshold": 1000}
        await node.create("kept", container={"readinessProbe": probe, "startupProbe": probe})
        pod = await node.until("kept", running)
        before = condition(pod, "Ready")
        server.answers["/"] = 500  # nothing that is asked from now on says that it is ready
        await node.stop()
        await node.start()
        async with asyncio.timeout(20):
            asked = len(server.seen)
            while len(server.seen) < asked + 2:
                await asyncio.sleep(0.05)
        pod = await node.get("kept")
        assert running(pod)
        assert status_of(pod)["started"]
        assert condition(pod, "Ready") == before
        await node.remove("kept")
