"""The HTTP proxies: `pods/proxy`, `services/proxy`, `nodes/proxy` to real servers on this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from kumo.kubernetes.apiserver.kubelet_proxy.targets import Address
from kumo.kubernetes.apiserver.kubelet_proxy.upstream import Connections
from kumo.machinery import tls
from kumo.machinery.http import Answer, Request, Response, Upgrade, WebSocket
from kumo.machinery.listener import Listener
from kumo.machinery.transport import HttpTransport
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component


async def web(request: Request) -> Answer:
    """What runs in the pod: tells what it was asked."""
    if request.wants_websocket:

        async def run(ws: WebSocket) -> None:
            while (message := await ws.receive()) is not None:
                await ws.send(message)

        return Upgrade(request.websocket_protocols[0], run)
    if request.path == "/page":
        return Response(200, b'<a href="/up">up</a>', "text/html; charset=utf-8")
    if request.path == "/endless":
        return Response(200, b'<a href="/up">' * 1_000_000, "text/html")
    if request.path == "/moved":
        return Response(302, b"", "", {"location": "/up?x=1"})
    facts = {
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "body": (await request.read(1 << 20)).decode(),
        "headers": dict(request.headers),
        "user": request.user.name if request.user else "",
    }
    return Response(418, json.dumps(facts).encode(), "application/teapot", {"X-Own": "yes"})


class Place:
    def __init__(self, server: RunningApiServer, port: int) -> None:
        self.server, self.port = server, port


def _lead_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the address that the slice may name (never a loopback one) to this machine."""
    found = Connections.to

    def to(self: Connections, address: Address, *, node: bool) -> HttpTransport:
        return found(self, address._replace(host=address.host.replace("192.0.2.1", "127.0.0.1")), node=node)

    monkeypatch.setattr(Connections, "to", to)


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    _lead_here(monkeypatch)
    pki = tmp_path / "pki"
    pki.mkdir()
    ca = tls.ensure_ca(pki)
    own = tls.ensure_client_certificate(ca, pki, "kubelet-client", "apiserver", ["system:masters"])
    serving = tls.ensure_server_certificate(ca, pki, "node")
    node_tls = tls.server_context(serving, ca.files.cert, require_client=True)
    async with (
        Listener(web, grace=0.2) as pod,
        Listener(web, tls=node_tls, grace=0.2) as node,
        running_apiserver(
            tmp_path, https=True, kubelet_client_certificate=own.cert, kubelet_client_key=own.key
        ) as server,
    ):
        client = server.client
        made = await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        made["status"] = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": node.port}},
        }
        await client.update_status(NODES, made)
        ports = [{"containerPort": pod.port, "name": "web"}]
        spec = {"containers": [{"name": "c", "image": "i", "ports": ports}], "nodeName": "n1"}
        meta = {"name": "p", "namespace": "default"}
        made = await client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        made["status"] = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
        await client.update_status(PODS, made)
        for name in ("s", "empty"):
            service = {"selector": {"a": "b"}, "ports": [{"name": "http", "port": 80, "targetPort": pod.port}]}
            meta = {"name": name, "namespace": "default"}
            await client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service})
        await client.create(
            ENDPOINTSLICES,
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "s-1",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "s"},
                },
                "addressType": "IPv4",
                "endpoints": [
                    {"addresses": ["192.0.2.2"], "conditions": {"ready": False}},
                    {"addresses": ["192.0.2.1"], "conditions": {"ready": True}},
                ],
                "ports": [{"name": "http", "port": pod.port, "protocol": "TCP"}],
            },
        )
        yield Place(server, pod.port)


@pytest.mark.parametrize("target", ["pods/p", "pods/http:p:PORT", "pods/p:web", "services/s:http", "services/s:80"])
async def test_requests_pass_through(place: Place, target: str) -> None:
    path = f"/api/v1/namespaces/default/{target.replace('PORT', str(place.port))}/proxy/a b/c"
    client = place.server.https_client()
    reply = await client.transport.request(
        "POST",
        path.replace(" ", "%20"),
        query="x=1&x=2",
        headers={"Content-Type": "text/odd", "X-Mine": "1", "Authorization": "Bearer secret"},
        body=b"hello",
    )
    await client.transport.close()
    assert reply.status == 418
    assert reply.headers["content-type"] == "application/teapot"
    assert reply.headers["x-own"] == "yes"
    facts = json.loads(reply.body)
    assert (facts["method"], facts["path"], facts["query"], facts["body"]) == ("POST", "/a b/c", "x=1&x=2", "hello")
    assert facts["headers"]["content-type"] == "text/odd"
    assert facts["headers"]["x-mine"] == "1"
    assert "authorization" not in facts["headers"]


async def test_a_nodes_listener_is_reached_with_the_servers_certificate(place: Place) -> None:
    reply = await place.server.client.transport.request("GET", "/api/v1/nodes/n1/proxy/healthz")
    facts = json.loads(reply.body)
    assert (facts["path"], facts["user"]) == ("/healthz", "apiserver")


async def test_websockets_pass_through(place: Place) -> None:
    client = place.server.https_client()
    path = "/api/v1/namespaces/default/pods/p/proxy/socket"
    async with client.transport.websocket(path, protocols=("chat",)) as ws:
        assert ws.protocol == "chat"
        await ws.send("hello")
        assert await ws.receive() == "hello"
    await client.transport.close()


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("pods/nix", 404, 'pods "nix" not found'),
        ("services/nix", 404, 'services "nix" not found'),
        ("services/empty:http", 503, 'no endpoints available for service "empty:http"'),
        ("services/s:81", 503, "no service port 81 found for service"),
        ("pods/p:1", 503, "error trying to reach service"),
        ("pods/ftp:p:1", 400, "invalid request"),
    ],
)
async def test_refusals(place: Place, target: str, code: int, words: str) -> None:
    with pytest.raises(StatusError) as refusal:
        await place.server.client.request("GET", f"/api/v1/namespaces/default/{target}/proxy/")
    assert refusal.value.code == code
    assert words in refusal.value.message


async def test_pages_and_redirections_lead_through_the_proxy_again(place: Place) -> None:
    ask = place.server.client.transport.request
    base = "/api/v1/namespaces/default/services/s:http/proxy"
    page = await ask("GET", f"{base}/page")
    assert page.body.decode() == f'<a href="{base}/up">up</a>'
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    moved = await ask("GET", f"{base}/moved")
    assert (moved.status, moved.headers["location"]) == (302, f"{base}/up?x=1")
    bare = await ask("GET", base, query="a=b")
    assert (bare.status, bare.headers["location"]) == (301, f"{base}/?a=b")
    large = await ask("GET", f"{base}/endless")
    assert large.body == b'<a href="/up">' * 1_000_000


async def test_nothing_is_said_for_a_client_that_names_no_content_type(place: Place) -> None:
    path = "/api/v1/namespaces/default/pods/p/proxy/x"
    reply = await place.server.client.transport.request("POST", path, body=b"hello")
    assert "content-type" not in json.loads(reply.body)["headers"]
