"""Aggregated API servers: requests sent on in the user's name, availability, discovery, and local APIServices."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kumo.api.conditions import condition
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CRDS, ENDPOINTSLICES, SERVICES
from kumo.kubernetes.apiserver.aggregation import aggregator, asking
from kumo.kubernetes.apiserver.aggregation.config import AggregationConfig
from kumo.kubernetes.apiserver.aggregation.registrations import APISERVICES
from kumo.kubernetes.apiserver.outbound import connections
from kumo.machinery import tls
from kumo.machinery.client import JSON_PATCH
from kumo.machinery.http import Answer, RawUpgrade, Request, Response, Upgrade, WebSocket
from kumo.machinery.listener import Listener
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
GROUP = "metrics.example.com"
PATH = f"/apis/{GROUP}/v1"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
KIND = {"group": GROUP, "version": "v1", "kind": "Thing"}
SWAGGER: Object = {
    "swagger": "2.0",
    "info": {"title": "meter", "version": "v1"},
    "paths": {
        f"{PATH}/things": {
            "get": {
                "parameters": [{"name": "limit", "in": "query", "type": "integer", "uniqueItems": True}],
                "produces": ["application/json"],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/example.Thing"}}},
            },
            "post": {
                "consumes": ["application/json"],
                "parameters": [
                    {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/example.Thing"}}
                ],
                "responses": {"201": {"description": "Created"}},
            },
        },
        "/api/v1/pods": {"get": {"responses": {"200": {"description": "not the backend's to say"}}}},
    },
    "definitions": {
        "example.Thing": {
            "description": "Thing is what is metered.",
            "type": "object",
            "properties": {
                "usage": {"type": "string", "description": "Usage is how much."},
                "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
            },
            "x-kubernetes-group-version-kind": [KIND],
        },
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "Another one."},
        "io.k8s.api.core.v1.Pod": {"type": "string"},
    },
}
DISCOVERED: Object = {
    "kind": "APIGroupDiscoveryList",
    "apiVersion": "apidiscovery.k8s.io/v2",
    "items": [
        {
            "metadata": {"name": GROUP},
            "versions": [
                {"version": "v1", "resources": [{"resource": "gauges", "scope": "Cluster", "verbs": ["get"]}]}
            ],
        }
    ],
}
NODES = [{"name": "things", "singularName": "thing", "namespaced": True, "kind": "Thing", "verbs": ["get", "list"]}]


@dataclass
class Backend:
    """A server behind the API server: its listener, and what it was asked."""

    listener: Listener
    ca: tls.Authority
    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False
    swagger: bytes = b""
    dying: bool = False
    produced: int = 0
    aggregated: bool = False
    open_api: tuple[str, ...] = ()
    """The versions of OpenAPI that it speaks."""

    async def handle(self, request: Request) -> Answer:
        """Discovery, a watch, an echo over WebSocket, or what was asked."""
        if self.broken:
            return Response(500, b"broken", "text/plain")
        if request.path == PATH:
            listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1", "resources": NODES}
            return Response(200, json.dumps(listed).encode())
        if request.path == "/apis" and self.aggregated:
            return Response(200, json.dumps(DISCOVERED).encode(), AGGREGATED)
        if request.path.startswith("/openapi/") or request.path == "/apis":
            return self._described(request)
        self.bodies.append(await request.read(1 << 20))
        self.requests.append(request)
        if request.wants_websocket:
            return Upgrade("v1.echo", _echo)
        if request.wanted_protocol:
            if request.path.endswith("/refused"):
                return Response(403, b'{"kind":"Status","code":403}')
            return RawUpgrade(request.wanted_protocol, headers={"X-Stream-Protocol-Version": "v4"}, run_raw=_shout)
        if "watch=true" in request.query_string:
            return Response(200, self._events())
        if "endless" in request.query_string:
            return Response(200, self._endless())
        return Response(207, b'{"kind":"Thing"}', headers={"X-Answered-By": "backend"})

    def _described(self, request: Request) -> Response:
        version = request.path.split("/")[2] if request.path.startswith("/openapi/") else ""
        if version not in self.open_api:
            return Response(404, b"404 page not found\n", "text/plain")
        if version == "v2":
            self.requests.append(request)
            return Response(200, self.swagger, headers={"Etag": f'"{hash(self.swagger)}"'})
        if request.path == "/openapi/v3":
            where = {p: {"serverRelativeURL": f"/openapi/v3/{p}?hash=AB"} for p in (PATH[1:], "api/v1", "version")}
            return Response(200, json.dumps({"paths": where}).encode())
        self.requests.append(request)
        return Response(200, b'{"openapi":"3.0.0","of":"the backend"}')

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.produced += 1 << 16
                yield bytes(1 << 16)
        finally:
            self.let_go.set()

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            yield b'{"type":"ADDED"}\n'
            await self.more.wait()
            if self.dying:
                raise RuntimeError("the backend dies")
            yield b'{"type":"MODIFIED"}\n'
            await asyncio.Event().wait()
        finally:
            self.let_go.set()


async def _echo(socket: WebSocket) -> None:
    while (message := await socket.receive()) is not None:
        await socket.send(message)


async def _shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece.upper())
        await writer.drain()


async def _not_yet(_: Request) -> Answer:
    raise ConnectionError("the backend is starting")


@asynccontextmanager
async def running_backend(tmp_path: Path) -> AsyncIterator[tuple[Backend, AggregationConfig]]:
    pki = tmp_path / "backend-pki"
    pki.mkdir()
    ca = tls.ensure_ca(pki)
    names = ("meter.default.svc",)
    pair = tls.ensure_certificate(ca, pki, "backend", common_name="meter", names=names, server=True, client=False)
    proxies = tls.ensure_ca(pki, "front-proxy-ca", "front-proxy-ca")
    proxy = tls.ensure_client_certificate(proxies, pki, "front-proxy-client", "front-proxy-client")
    listener = Listener(_not_yet, tls=tls.server_context(pair, proxies.files.cert), grace=0.1, name="backend")
    await listener.start()
    backend = Backend(listener, ca)
    listener.handler = backend.handle
    try:
        yield backend, AggregationConfig(proxy.cert, proxy.key)
    finally:
        await listener.stop()


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lead the one address that the slice may name (never a loopback one) to this machine."""

    def lead(port: int) -> None:
        found = connections.endpoint

        def local(*where: Any) -> tuple[str, int]:
            _, wanted = found(*where)
            return "127.0.0.1", port if wanted == port else 1

        for module in (connections, aggregator, asking):
            monkeypatch.setattr(module, "endpoint", local)

    return lead


@asynccontextmanager
async def aggregated(
    tmp_path: Path, loopback: Callable[[int], None], *, https: bool = False
) -> AsyncIterator[tuple[RunningApiServer, Backend]]:
    async with (
        running_backend(tmp_path) as (backend, config),
        running_apiserver(tmp_path, aggregation=config, https=https) as server,
    ):
        loopback(backend.listener.port)
        await server.client.create(
            SERVICES, {"metadata": {"name": "meter"}, "spec": {"ports": [{"port": 443}]}}, "default"
        )
        await server.client.create(ENDPOINTSLICES, _slice(backend.listener.port), "default")
        await server.client.create(APISERVICES, _service(backend))
        await available(server, "Passed")
        yield server, backend


def _slice(port: int, *, ready: bool = True) -> Object:
    return {
        "metadata": {"name": "meter-1", "labels": {"kubernetes.io/service-name": "meter"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.7"], "conditions": {"ready": ready}}],
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
    }


def _service(backend: Backend, **more: Any) -> Object:
    spec = {
        "group": GROUP,
        "version": "v1",
        "groupPriorityMinimum": 100,
        "versionPriority": 10,
        "service": {"namespace": "default", "name": "meter"},
        "caBundle": base64.b64encode(backend.ca.files.cert.read_bytes()).decode(),
    }
    return {"metadata": {"name": f"v1.{GROUP}"}, "spec": {**spec, **more}}


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(10):
        while not (value := await found()):
            await asyncio.sleep(0.02)
        return value


async def available(server: RunningApiServer, reason: str, name: str = f"v1.{GROUP}") -> Object:
    async def found() -> Object | None:
        said = condition(await server.client.get(APISERVICES, name), "Available")
        return said if said is not None and said["reason"] == reason else None

    said: Object = await until(found)
    return said


async def test_a_request_reaches_the_backend_in_the_users_name(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback) as (server, backend):
        rules = [{"apiGroups": [GROUP], "resources": ["things"], "verbs": ["update"]}]
        await server.client.create(CLUSTERROLES, {"metadata": {"name": "things"}, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "things"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}
        bound = {"metadata": {"name": "things"}, "roleRef": role, "subjects": [subject]}
        await server.client.create(CLUSTERROLEBINDINGS, bound)
        ann = server.as_user("ann", "readers")
        headers = {"X-Remote-User": "root", "X-Remote-Extra-Scopes": "all", "X-Remote-Uid": "0", "X-Kept": "yes"}
        path = f"{PATH}/namespaces/default/things/a b%c"
        answer = await ann.transport.request("PUT", path, query="dryRun=All&x=%2F", headers=headers, body=b"{}")
        assert (answer.status, answer.body) == (207, b'{"kind":"Thing"}')
        assert answer.headers["x-answered-by"] == "backend"
        seen = backend.requests[-1]
        assert (seen.method, seen.path, seen.query_string) == ("PUT", path, "dryRun=All&x=%2F")
        assert backend.bodies[-1] == b"{}"
        assert seen.headers["x-remote-user"] == "ann"
        groups = {group.strip() for group in seen.headers["x-remote-group"].split(",")}
        assert groups == {"readers", "system:authenticated"}
        assert seen.headers["x-kept"] == "yes"
        assert not {"x-remote-extra-scopes", "x-remote-uid", "authorization"} & set(seen.headers)
        assert seen.peer is not None
        assert seen.peer.common_name == "front-proxy-client"

        asked = len(backend.requests)
        assert (await ann.transport.request("DELETE", path)).status == 403
        outside = await server.client.transport.request("GET", f"{PATH}/things/../../../../api/v1/secrets")
        assert outside.status == 404
        assert len(backend.requests) == asked


async def test_streams_and_websockets_pass_as_they_come(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback) as (server, backend):
        async with asyncio.timeout(10):
            transport = server.client.transport
            async with transport.stream("GET", f"{PATH}/things", query="watch=true") as (status, chunks):
                assert status == 200
                assert await anext(chunks) == b'{"type":"ADDED"}\n'
                backend.more.set()
                assert await anext(chunks) == b'{"type":"MODIFIED"}\n'
            await backend.let_go.wait()
            path = f"{PATH}/namespaces/default/things/a/exec"
            async with transport.websocket(path, protocols=("v1.echo",)) as socket:
                await socket.send(b"hello")
                assert await socket.receive() == b"hello"
        assert backend.requests[-1].headers["x-remote-user"] == "kubernetes-admin"


async def test_availability_follows_service_and_endpoints(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback) as (server, backend):
        client = server.client
        assert (await available(server, "Passed"))["message"] == "all checks passed"
        await client.update(
            ENDPOINTSLICES, {**_slice(1, ready=False), "metadata": {**_slice(1)["metadata"], "namespace": "default"}}
        )
        said = await available(server, "MissingEndpoints")
        assert said["message"] == 'endpointslices for service/meter in "default" have no addresses with port name ""'
        refused = await client.transport.request("GET", f"{PATH}/things")
        assert (refused.status, refused.body) == (503, b"service unavailable\n")

        backend.broken = True
        await client.delete(ENDPOINTSLICES, "meter-1", "default")
        said = await available(server, "EndpointsNotFound")
        assert said["message"] == 'cannot find endpointslices for service/meter in "default"'
        await client.create(ENDPOINTSLICES, _slice(backend.listener.port), "default")
        said = await available(server, "FailedDiscoveryCheck")
        url = f"https://127.0.0.1:{backend.listener.port}{PATH}"
        assert said["message"] == f"failing or missing response from {url}: bad status from {url}: 500"
        backend.broken = False
        await available(server, "Passed")
        assert (await client.transport.request("GET", f"{PATH}/things")).status == 207

        await client.delete(SERVICES, "meter", "default")
        said = await available(server, "ServiceNotFound")
        assert said["message"] == 'service/meter in "default" is not present'


async def test_a_backend_of_another_authority_is_not_believed(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback) as (server, _):
        service = await server.client.get(APISERVICES, f"v1.{GROUP}")
        (tmp_path / "other").mkdir()
        other = tls.ensure_ca(tmp_path / "other").files.cert.read_bytes()
        service["spec"]["caBundle"] = base64.b64encode(other).decode()
        service = await server.client.update(APISERVICES, service)
        said = await available(server, "FailedDiscoveryCheck")
        assert said["message"].endswith(
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )
        service = await server.client.get(APISERVICES, f"v1.{GROUP}")
        del service["spec"]["caBundle"]
        service["spec"]["insecureSkipTLSVerify"] = True
        await server.client.update(APISERVICES, service)
        await available(server, "Passed")


async def test_discovery_shows_the_backends_resources(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback) as (server, _):
        client = server.client
        names = [group["name"] for group in (await client.request("GET", "/apis"))["groups"]]
        assert GROUP in names
        assert (await client.request("GET", f"/apis/{GROUP}"))["preferredVersion"]["version"] == "v1"
        assert (await client.request("GET", PATH))["resources"] == NODES

        async def shown() -> Object:
            answer = await client.transport.request("GET", "/apis", headers={"Accept": AGGREGATED})
            items = json.loads(answer.body)["items"]
            (version,) = next(i for i in items if i["metadata"]["name"] == GROUP)["versions"]
            return dict(version)

        assert (await shown())["freshness"] == "Current"
        assert [r["resource"] for r in (await shown())["resources"]] == ["things"]
        await client.delete(SERVICES, "meter", "default")
        await available(server, "ServiceNotFound")
        assert (await shown())["freshness"] == "Stale"
        await client.delete(APISERVICES, f"v1.{GROUP}")
        with pytest.raises(StatusError) as gone:
            await client.request("GET", PATH)
        assert is_not_found(gone.value)


async def test_what_is_served_here_has_local_services(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        client = server.client
        found = {s["metadata"]["name"]: s for s in (await client.list(APISERVICES)).items}
        apps = found["v1.apps"]
        assert apps["spec"] == {
            "group": "apps",
            "version": "v1",
            "groupPriorityMinimum": 17800,
            "versionPriority": 15,
        }
        assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        assert (condition(apps, "Available") or {})["reason"] == "Local"
        assert (found["v1."]["spec"], len(found)) == (
            {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1},
            21,
        )

        schema = {"openAPIV3Schema": {"type": "object"}}
        names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
        await client.create(CRDS, {"metadata": {"name": "widgets.example.com"}, "spec": spec})

        async def there() -> Object | None:
            return server.server.reader.get(APISERVICES, "v1.example.com")

        made = await until(there)
        assert made["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
        assert (made["spec"]["groupPriorityMinimum"], made["spec"]["versionPriority"]) == (1000, 100)
        await available(server, "Local", "v1.example.com")
        await client.delete(CRDS, "widgets.example.com")

        async def gone() -> bool:
            return await there() is None

        await until(gone)


async def test_openapi_of_backends_is_listed_passed_on_and_merged(
    tmp_path: Path, loopback: Callable[[int], None]
) -> None:
    async with aggregated(tmp_path, loopback) as (server, backend):
        client, path = server.client, PATH[1:]
        assert path not in (await client.request("GET", "/openapi/v3"))["paths"], "it says nothing"
        own = (await client.request("GET", "/openapi/v3"))["paths"]
        backend.open_api, backend.swagger = ("v2", "v3"), json.dumps(SWAGGER).encode()
        service = await client.get(APISERVICES, f"v1.{GROUP}")
        service["spec"]["versionPriority"] = 11  # What is known of it is forgotten.
        await client.update(APISERVICES, service)
        paths = (await client.request("GET", "/openapi/v3"))["paths"]
        assert paths[path] == {"serverRelativeURL": f"/openapi/v3/{path}?hash=AB"}
        assert {key: paths[key] for key in own} == own, "the backend's version and the like are not this server's"
        assert (await client.request("GET", f"/openapi/v3/{path}", query={"hash": "AB"}))["of"] == "the backend"
        assert backend.requests[-1].headers["x-remote-user"] == "system:aggregator"
        assert (await client.request("GET", "/openapi/v3/apis/apps/v1"))["info"]["title"] == "Kubernetes"

        answer = await client.transport.request("GET", "/openapi/v2")
        merged = json.loads(answer.body)
        assert merged["paths"][f"{PATH}/things"] == SWAGGER["paths"][f"{PATH}/things"]
        assert "is what is metered" in merged["definitions"]["example.Thing"]["description"]
        other = merged["definitions"]["example.Thing"]["properties"]["metadata"]["$ref"].rpartition("/")[2]
        assert other.endswith("ObjectMeta_v2") and merged["definitions"][other]["description"] == "Another one."
        assert merged["definitions"]["io.k8s.api.core.v1.Pod"]["type"] == "object"
        assert merged["paths"]["/api/v1/pods"]["get"]["operationId"] == "listCoreV1PodForAllNamespaces"
        tag = {"If-None-Match": answer.headers["etag"]}
        assert (await client.transport.request("GET", "/openapi/v2", headers=tag)).status == 304
        binary = {"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
        assert b"example.Thing" in (await client.transport.request("GET", "/openapi/v2", headers=binary)).body

        backend.open_api = ("v2",)
        service = await client.get(APISERVICES, f"v1.{GROUP}")
        service["spec"]["versionPriority"] = 12
        await client.update(APISERVICES, service)
        where = (await client.request("GET", "/openapi/v3"))["paths"][path]["serverRelativeURL"]
        document = await client.request("GET", where.partition("?")[0])
        post = document["paths"][f"{PATH}/things"]["post"]
        reference = {"schema": {"$ref": "#/components/schemas/example.Thing"}}
        assert post["requestBody"] == {"content": {"application/json": reference}, "required": True}
        get = document["paths"][f"{PATH}/things"]["get"]
        limit = {"name": "limit", "in": "query", "schema": {"type": "integer", "uniqueItems": True}}
        assert (get["parameters"], get["responses"]["200"]["content"]) == ([limit], {"application/json": reference})


async def test_a_backend_may_speak_aggregated_discovery(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback) as (server, backend):
        backend.aggregated = True
        service = await server.client.get(APISERVICES, f"v1.{GROUP}")
        service["spec"]["versionPriority"] = 11
        await server.client.update(APISERVICES, service)

        async def shown() -> bool:
            answer = await server.client.transport.request("GET", "/apis", headers={"Accept": AGGREGATED})
            items = json.loads(answer.body)["items"]
            (version,) = next(i for i in items if i["metadata"]["name"] == GROUP)["versions"]
            return [r["resource"] for r in version["resources"]] == ["gauges"]

        await until(shown)


async def test_a_backend_that_dies_under_an_answer_ends_it(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback) as (server, backend):
        with pytest.raises(ConnectionError):
            async with (
                asyncio.timeout(10),
                server.client.transport.stream("GET", f"{PATH}/things", query="watch=true") as (status, chunks),
            ):
                assert status == 200 and await anext(chunks) == b'{"type":"ADDED"}\n'
                backend.dying = True
                backend.more.set()
                await anext(chunks)
        assert (await server.client.transport.request("GET", f"{PATH}/things")).status == 207


async def test_a_new_front_proxy_certificate_is_used_without_a_restart(
    tmp_path: Path, loopback: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kumo.kubernetes.apiserver.aggregation.backends._LOOK", 0.0)
    async with aggregated(tmp_path, loopback) as (server, backend):
        pki = tmp_path / "backend-pki"
        proxies = tls.ensure_ca(pki, "front-proxy-ca", "front-proxy-ca")
        made = tls.ensure_client_certificate(proxies, tmp_path, "renewed", "front-proxy-renewed")
        made.cert.replace(pki / "front-proxy-client.crt")
        assert (await server.client.transport.request("GET", f"{PATH}/things")).status == 207, "half of a pair"
        made.key.replace(pki / "front-proxy-client.key")

        async def renewed() -> bool:
            # A new connection: the one that is kept was made with the old certificate.
            async with server.client.transport.stream("GET", f"{PATH}/things", query="watch=true") as (_, chunks):
                await anext(chunks)
                await server.client.transport.request("GET", f"{PATH}/things")
            peer = backend.requests[-1].peer
            return peer is not None and peer.common_name == "front-proxy-renewed"

        await until(renewed)


async def test_connections_of_other_protocols_pass_through(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    """As SPDY's streams do: after 101 the bytes are the two programs' own."""
    async with aggregated(tmp_path, loopback, https=True) as (server, backend), asyncio.timeout(20):
        context = tls.client_context(
            ca=server.ca or "", cert=server.pki / "admin.crt", key=server.pki / "admin.key", verify=True
        )
        port = int(server.url.rpartition(":")[2])
        path = f"{PATH}/namespaces/default/things/a"

        async def ask(below: str, protocol: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            lines = (f"POST {path}/{below}?command=sh HTTP/1.1", "Host: x", "Connection: Upgrade")
            writer.write("\r\n".join((*lines, f"Upgrade: {protocol}", "X-Remote-User: eve", "", "")).encode())
            return await reader.readuntil(b"\r\n\r\n"), reader, writer

        head, reader, writer = await ask("exec", "SPDY/3.1")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"Upgrade: SPDY/3.1\r\n" in head and b"x-stream-protocol-version: v4\r\n" in head.lower()
        sent = bytes(range(97, 123)) * 40_000  # More than all buffers on the way hold.

        async def write() -> None:
            writer.write(sent)
            await writer.drain()

        writing = asyncio.create_task(write())
        assert await reader.readexactly(len(sent)) == sent.upper()
        await writing
        seen = backend.requests[-1]
        assert (seen.headers["x-remote-user"], seen.query_string) == ("kubernetes-admin", "command=sh")
        writer.close()

        head, reader, writer = await ask("refused", "SPDY/3.1")
        assert head.startswith(b"HTTP/1.1 403 ") and await reader.readexactly(28) == b'{"kind":"Status","code":403}'
        writer.close()

        head, reader, writer = await ask("exec", "SPDY/3.1")
        await backend.listener.stop()
        assert await reader.read() == b"", "the end of the one is the end of the other"
        writer.close()


async def test_a_backend_outside_of_the_cluster_by_its_name(tmp_path: Path) -> None:
    async with (
        running_backend(tmp_path) as (backend, config),
        running_apiserver(tmp_path, aggregation=config) as server,
    ):
        spec = {"type": "ExternalName", "externalName": "localhost"}
        await server.client.create(SERVICES, {"metadata": {"name": "meter"}, "spec": spec}, "default")
        where = {"namespace": "default", "name": "meter", "port": backend.listener.port}
        await server.client.create(APISERVICES, _service(backend, service=where))
        await available(server, "Passed")
        assert (await server.client.transport.request("GET", f"{PATH}/things")).status == 207
        asked = len(backend.requests)
        await server.client.transport.request("GET", f"{PATH}/things")
        assert len(backend.requests) == asked + 1


async def test_an_endpoint_that_has_left_gets_no_more_requests(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback) as (server, backend):
        assert (await server.client.transport.request("GET", f"{PATH}/things")).status == 207
        port = [{"op": "replace", "path": "/ports/0/port", "value": 1}]
        await server.client.patch(ENDPOINTSLICES, "meter-1", port, "default", kind=JSON_PATCH)
        asked = len(backend.requests)
        refused = await server.client.transport.request("GET", f"{PATH}/things")
        assert refused.status == 503 and len(backend.requests) == asked, "a connection is kept, and not used"
        said = await available(server, "FailedDiscoveryCheck")
        assert said["message"].endswith("dial tcp 127.0.0.1:1: connect: connection refused")


async def test_an_answer_that_nobody_reads_is_not_held(tmp_path: Path, loopback: Callable[[int], None]) -> None:
    async with aggregated(tmp_path, loopback, https=True) as (server, backend), asyncio.timeout(20):
        client = server.https_client()
        async with client.transport.stream("GET", f"{PATH}/things", query="endless=1") as (status, chunks):
            assert status == 200 and await anext(chunks)
            before = -1
            while before != backend.produced:  # Until every buffer on the way is full.
                before = backend.produced
                await asyncio.sleep(0.3)
            assert backend.produced < 32 << 20
        await backend.let_go.wait()
        await client.transport.close()


@pytest.mark.parametrize(
    "document",
    [
        b"no JSON",
        b"[]",
        b'{"paths":[]}',
        b'{"paths":{"%s/x":{"get":{"parameters":5,"responses":[]}}},"definitions":{"a":5}}' % PATH.encode(),
        b'{"paths":{"%s/x":7},"definitions":{"a":{"x-kubernetes-group-version-kind":[{"group":5}]}}}' % PATH.encode(),
        b'{"paths":{},"definitions":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    ],
)
async def test_what_a_backend_says_of_itself_breaks_nothing(
    tmp_path: Path, loopback: Callable[[int], None], document: bytes
) -> None:
    async with aggregated(tmp_path, loopback) as (server, backend):
        backend.open_api, backend.swagger = ("v2",), document
        for path, accept in (
            ("/openapi/v2", "application/json"),
            ("/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"),
            ("/openapi/v3", "application/json"),
            (f"/openapi/v3{PATH}", "application/json"),
        ):
            answer = await server.client.transport.request("GET", path, headers={"Accept": accept})
            assert answer.status in (200, 404), answer
