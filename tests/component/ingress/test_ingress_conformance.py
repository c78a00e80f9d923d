"""The controller and a real haproxy by objects: what upstream's conformance tests of Ingress ask for, and more.

Features as there: host rules, path rules, default backends, classes, load balancing. Then what people expect beside:
redirects, protocols, default certificates, external names.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc.aio
import pytest
from aiohttp import web
from dnslib import RR, A, DNSRecord

from kumo.api.objects import Object
from kumo.api.resources import ENDPOINTSLICES, NODES, SECRETS, SERVICES
from kumo.kubernetes.ingress import engine, names
from kumo.kubernetes.ingress.config import IngressConfig
from kumo.kubernetes.ingress.controller import IngressController
from kumo.kubernetes.ingress.publication import INGRESS_CLASSES, INGRESSES, objects
from kumo.machinery import tls
from kumo.machinery.events import EventRecorder
from support.etcd import free_ports
from support.objects import MemoryApi

pytestmark = pytest.mark.component
MEANINGS = {"good.example.org.": "127.0.0.2", "evil.example.org.": "127.0.0.1"}


class Told:
    """Events, as (object, reason, message)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, obj: Object, kind: str, reason: str, message: str) -> None:
        self.events.append((obj["metadata"]["name"], reason, message))


def backend(service: str, port: int | str = 80) -> dict[str, Any]:
    return {"service": {"name": service, "port": {"number" if isinstance(port, int) else "name": port}}}


def rule(host: str, *paths: tuple[str, str, str]) -> dict[str, Any]:
    """`paths` are path, type and service."""
    listed = [{"path": p, "pathType": kind, "backend": backend(service)} for p, kind, service in paths]
    return {"http": {"paths": listed}} | ({"host": host} if host else {})


class Site:
    """A cluster of objects, haproxy before it, and web servers that say their name."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        kinds = ((SERVICES, "Service"), (ENDPOINTSLICES, "EndpointSlice"), (SECRETS, "Secret"), (NODES, "Node"))
        self.api = MemoryApi(*kinds, (INGRESSES, "Ingress"), (INGRESS_CLASSES, "IngressClass"))
        self.told, self._stack = Told(), stack
        self.ca = tls.ensure_ca(directory)
        self.directory = directory

    async def begin(self, dns: str) -> None:
        self.http, self.https = free_ports(2)
        config = IngressConfig("node1", "127.0.0.1", self.directory, self.http, self.https, address6="::1", dns=dns)
        default = tls.ensure_server_certificate(self.ca, self.directory, "default", common_name="default")
        self.api.put(NODES, {"metadata": {"name": "node1", "uid": "u"}})
        self.api.put(INGRESS_CLASSES, objects()[0][1])
        controller = IngressController(config, self.api.informers, cast(EventRecorder, self.told), default)
        tasks = [asyncio.create_task(self.api.informers.run()), asyncio.create_task(controller.run())]

        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._stack.push_async_callback(end)

    async def serve(self, name: str, count: int = 1, host: str = "127.0.0.1", port: int = 0) -> list[int]:
        """That many servers, which tell `name`, which one of them they are, and what they hear by WebSocket."""
        ports = []
        for number in range(count):

            async def answer(request: web.Request, number: int = number) -> web.StreamResponse:
                if request.headers.get("Upgrade", "").lower() == "websocket":
                    socket = web.WebSocketResponse()
                    await socket.prepare(request)
                    async for message in socket:
                        await socket.send_str(f"{name} heard {message.data}")
                    return socket
                return web.Response(text=f"{name} {number} {request.method}")

            app = web.Application()
            app.router.add_route("*", "/{rest:.*}", answer)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            self._stack.push_async_callback(runner.cleanup)
            found = web.TCPSite(runner, host, port)
            await found.start()
            ports.append(runner.addresses[0][1])
        return ports

    def service(self, name: str, ports: list[int], **port: Any) -> None:
        """A Service with these servers of this machine."""
        meta = {"name": name, "namespace": "n"}
        listed = [{"name": "http", "port": 80, **port}]
        self.api.put(SERVICES, {"metadata": meta, "spec": {"clusterIP": "10.9.9.9", "ports": listed}})
        for number in ports:
            labels = {"kubernetes.io/service-name": name}
            self.api.put(
                ENDPOINTSLICES,
                {
                    "metadata": {"name": f"{name}-{number}", "namespace": "n", "labels": labels},
                    "addressType": "IPv4",
                    "ports": [{"name": "http", "port": number}],
                    "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
                },
            )

    def ingress(
        self, name: str, *rules: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any
    ) -> None:
        meta = {"name": name, "namespace": "n", "annotations": annotations or {}}
        body = {"ingressClassName": "kumo", "rules": list(rules)} | spec
        self.api.put(INGRESSES, {"metadata": meta, "spec": body})

    def drop(self, *ingresses: str) -> None:
        for name in ingresses:
            self.api.drop(INGRESSES, name, "n")

    def secret(self, name: str, host: str, namespace: str = "n") -> None:
        pair = tls.ensure_server_certificate(self.ca, self.directory, f"{namespace}-{name}", names=(host,))
        data = {"tls.crt": pair.cert.read_bytes(), "tls.key": pair.key.read_bytes()}
        body = {k: base64.b64encode(v).decode() for k, v in data.items()}
        meta = {"name": name, "namespace": namespace}
        self.api.put(SECRETS, {"metadata": meta, "type": "kubernetes.io/tls", "data": body})

    async def ask(self, host: str, path: str = "/", method: str = "GET", address: str = "127.0.0.1") -> str:
        """Who answers; or the status and where one is sent."""
        url = f"http://{address}:{self.http}{path}"
        options: Any = {"headers": {"Host": host}, "allow_redirects": False}
        async with aiohttp.ClientSession() as session, session.request(method, url, **options) as answer:
            text = await answer.text()
            if answer.status == 200:
                return text.partition(" ")[0] or "nothing"
            return f"{answer.status} {answer.headers.get('Location', '')}".strip()

    async def until(self, wanted: dict[tuple[str, str], str]) -> None:
        """Wait until each host and path is answered so."""
        found: dict[tuple[str, str], str] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while found != wanted:
                    with suppress(aiohttp.ClientError):
                        found = {(host, path): await self.ask(host, path) for host, path in wanted}
                    await asyncio.sleep(0.01)
        assert found == wanted

    async def until_told(self, *texts: str) -> None:
        """Wait for events with these messages."""
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while not set(texts) <= {text for _, _, text in self.told.events}:
                    await asyncio.sleep(0.01)
        assert set(texts) <= {text for _, _, text in self.told.events}

    async def shown(self, host: str) -> set[str]:
        """The names in the certificate that is shown to a client who asks for the host."""
        context = ssl.create_default_context(cafile=str(self.ca.files.cert))
        context.check_hostname = False
        _, writer = await asyncio.open_connection("127.0.0.1", self.https, ssl=context, server_hostname=host)
        found = writer.get_extra_info("peercert")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return {value for kind, value in found["subjectAltName"] if kind == "DNS"}


async def dns_server(stack: AsyncExitStack) -> str:
    """A DNS server by TCP that knows the names of `MEANINGS`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                query = DNSRecord.parse(await reader.readexactly(size))
                reply, address = query.reply(), MEANINGS.get(str(query.q.qname))
                if address:
                    reply.add_answer(RR(query.q.qname, rdata=A(address), ttl=60))
                else:
                    reply.header.rcode = 3
                data = bytes(reply.pack())
                writer.write(struct.pack("!H", len(data)) + data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stack.callback(server.close)
    return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(engine, "_GRACE_SECONDS", 0.5)  # what clients still hold need not be waited for
    async with AsyncExitStack() as stack:
        found = Site(tmp_path, stack)
        await found.begin(await dns_server(stack))
        for name in ("one", "two", "three"):
            found.service(name, await found.serve(name))
        yield found


async def test_path_rules(site: Site) -> None:
    exact, prefix = "Exact", "Prefix"
    site.ingress(
        "paths",
        rule("exact", ("/foo", exact, "one"), ("/bar/", exact, "two")),
        rule("prefix", ("/foo", prefix, "one"), ("/aaa/bbb", prefix, "two"), ("/aaa", prefix, "three")),
        rule("slash", ("/foo/", prefix, "one")),
        rule("mixed", ("/foo", prefix, "one"), ("/foo", exact, "two")),
        rule("root", ("/", prefix, "one"), ("/only", exact, "two")),
        rule("open", ("/imp", "ImplementationSpecific", "one")),
    )
    await site.until(
        {
            ("exact", "/foo"): "one",
            ("exact", "/foo/"): "404",
            ("exact", "/FOO"): "404",
            ("exact", "/foobar"): "404",
            ("exact", "/foo?q=/bar"): "one",
            ("exact", "/bar/"): "two",
            ("exact", "/bar"): "404",
            ("prefix", "/foo"): "one",
            ("prefix", "/foo/"): "one",
            ("prefix", "/foo/x/y"): "one",
            ("prefix", "/Foo"): "404",
            ("prefix", "/foobar"): "404",
            ("prefix", "/aaa"): "three",
            ("prefix", "/aaa/bb"): "three",
            ("prefix", "/aaa/bbb"): "two",
            ("prefix", "/aaa/bbb/ccc"): "two",
            ("prefix", "/aaa/bbbx"): "three",
            ("slash", "/foo"): "one",
            ("slash", "/foo/x"): "one",
            ("slash", "/foox"): "404",
            ("mixed", "/foo"): "two",
            ("mixed", "/foo/"): "one",
            ("root", "/"): "one",
            ("root", "/any/thing"): "one",
            ("root", "/only"): "two",
            ("root", "/only/"): "one",
            ("open", "/imp"): "one",
            ("open", "/imp/x"): "one",
        }
    )


async def test_host_rules_and_default_backends(site: Site) -> None:
    site.ingress("hosts", rule("foo.bar.com", ("/", "Prefix", "one")), rule("*.foo.com", ("/", "Prefix", "two")))
    wanted = {
        ("foo.bar.com", "/"): "one",
        ("FOO.bar.com:8080", "/"): "one",
        ("bar.com", "/"): "404",
        ("x.foo.bar.com", "/"): "404",
        ("bar.foo.com", "/"): "two",
        ("baz.bar.foo.com", "/"): "404",
        ("foo.com", "/"): "404",
    }
    await site.until(wanted)
    site.ingress("default", defaultBackend=backend("three", "http"), rules=[])
    await site.until({key: "three" if who == "404" else who for key, who in wanted.items()})
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert await site.ask("whoever", "/what/ever", method) == "three"
    assert await site.ask("foo.bar.com", address="[::1]") == "one"
    site.drop("default")
    # what no path of an Ingress's host leads anywhere goes to its own default backend
    site.ingress("own", rule("own.com", ("/a", "Prefix", "one")), defaultBackend=backend("two"))
    await site.until({("own.com", "/a"): "one", ("own.com", "/b"): "two", ("bar.com", "/"): "404"})


async def test_classes(site: Site) -> None:
    site.ingress("mine", rule("mine.com", ("/", "Prefix", "one")))
    site.ingress("foreign", rule("foreign.com", ("/", "Prefix", "one")), ingressClassName="other")
    await site.until({("mine.com", "/"): "one", ("foreign.com", "/"): "404"})
    spec = {"controller": "kumo.dev/ingress"}
    site.api.put(INGRESS_CLASSES, {"metadata": {"name": "other"}, "spec": spec})
    await site.until({("foreign.com", "/"): "one"})
    site.ingress("mine", rule("mine.com", ("/", "Prefix", "one")), ingressClassName="elsewhere")
    await site.until({("mine.com", "/"): "404"})


async def test_load_balancing_and_what_can_not_be_led_to(site: Site) -> None:
    site.service("many", await site.serve("many", 10))
    resource = {"resource": {"apiGroup": "x.io", "kind": "Bucket", "name": "b"}}
    site.ingress("many", rule("many.com", ("/", "Prefix", "many")), defaultBackend=resource)
    await site.until({("many.com", "/"): "many", ("else.com", "/"): "404"})
    answers: Counter[str] = Counter()
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            url = f"http://127.0.0.1:{site.http}/"
            async with session.get(url, headers={"Host": "many.com"}) as answer:
                answers[await answer.text()] += 1
    assert set(answers.values()) == {10}
    text = 'backends other than Services are not supported: Bucket "b" is led to by no rule'
    await site.until_told(text)
    assert ("many", "Rejected", text) in site.told.events


async def test_redirects_and_certificates(site: Site) -> None:
    site.secret("shop", "shop.com")
    no = {"ingress.kumo.dev/ssl-redirect": "false"}
    hosts = [{"secretName": "shop", "hosts": ["shop.com", "*.wild.com"]}]
    site.ingress(
        "shop", rule("shop.com", ("/", "Prefix", "one")), rule("a.wild.com", ("/", "Prefix", "one")), tls=hosts
    )
    site.ingress("plain", rule("plain.com", ("/", "Prefix", "two")), rule("", ("/free", "Prefix", "two")))
    site.ingress("both", rule("both.com", ("/", "Prefix", "three")), tls=[{"hosts": ["both.com"]}], annotations=no)
    site.ingress(
        "odd", rule("odd.com", ("/", "Prefix", "one")), annotations={"ingress.kumo.dev/ssl-redirect": "perhaps"}
    )
    await site.until(
        {
            ("shop.com:8080", "/a/b?c=d"): "308 https://shop.com/a/b?c=d",
            ("a.wild.com", "/"): "308 https://a.wild.com/",
            ("plain.com", "/"): "two",
            ("[::1]:80", "/free"): "two",
            ("both.com", "/"): "three",
            ("odd.com", "/"): "one",
        }
    )
    await site.until_told('the annotation ingress.kumo.dev/ssl-redirect is "perhaps", not one of true, false')
    assert "shop.com" in await site.shown("shop.com")
    assert await site.shown("plain.com") & {"shop.com", "everybody.com"} == set()
    site.secret("kumo-ingress-default", "everybody.com", "kube-system")
    async with asyncio.timeout(30):
        while "everybody.com" not in await site.shown("plain.com"):
            await asyncio.sleep(0.01)
    assert "shop.com" in await site.shown("shop.com")
    context = ssl.create_default_context(cafile=str(site.ca.files.cert))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        url = f"https://127.0.0.1:{site.https}/"
        async with session.get(url, headers={"Host": "shop.com"}, server_hostname="shop.com") as answer:
            assert (await answer.text()).startswith("one")


async def test_websockets_and_grpc(site: Site) -> None:
    async def echo(request: bytes, _: Any) -> bytes:
        return b"heard " + request

    async def count(request: bytes, _: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            yield request + str(number).encode()

    server = grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo), "Count": grpc.unary_stream_rpc_method_handler(count)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Talk", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        site.service("talk", [port])
        grpc_speech = {"ingress.kumo.dev/backend-protocol": "GRPC"}
        site.secret("talk", "talk.com")
        site.ingress("talk", rule("talk.com", ("/t.Talk", "Prefix", "talk")), annotations=grpc_speech)
        site.ingress("sockets", rule("ws.com", ("/", "Prefix", "one")))
        await site.until({("ws.com", "/"): "one", ("talk.com", "/"): "404"})
        options = (("grpc.default_authority", "talk.com"),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{site.http}", options=options) as channel:
            assert await channel.unary_unary("/t.Talk/Echo")(b"you", timeout=20) == b"heard you"
            assert [m async for m in channel.unary_stream("/t.Talk/Count")(b"n", timeout=20)] == [b"n0", b"n1", b"n2"]
            with pytest.raises(grpc.aio.AioRpcError) as told:  # the status is in the trailers
                await channel.unary_unary("/t.Talk/Nothing")(b"", timeout=20)
            assert told.value.code() == grpc.StatusCode.UNIMPLEMENTED
        url = f"http://127.0.0.1:{site.http}/ws"
        headers = {"Host": "ws.com"}
        async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as socket:
            await socket.send_str("hello")
            assert (await socket.receive(timeout=20)).data == "one heard hello"
    finally:
        await server.stop(0)


async def test_external_names(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "is_allowed", lambda address, own=(): address == "127.0.0.2")
    (port,) = await site.serve("far", host="127.0.0.2")
    for name, host in (("far", "good.example.org"), ("evil", "evil.example.org"), ("none", "none.example.org")):
        spec = {"type": "ExternalName", "externalName": host}
        site.api.put(SERVICES, {"metadata": {"name": name, "namespace": "n"}, "spec": spec})
    rules = []
    for name in ("far", "evil", "none"):
        made = rule(f"{name}.com", ("/", "Prefix", name))
        made["http"]["paths"][0]["backend"] = backend(name, port)
        rules.append(made)
    site.ingress("outside", *rules)
    await site.until({("far.com", "/"): "far", ("evil.com", "/"): "503", ("none.com", "/"): "503"})
    await site.until_told(
        'the name "evil.example.org" means 127.0.0.1, where no Ingress may lead',
        'the name "none.example.org" can\'t be looked up: the DNS answers NXDOMAIN',
    )
