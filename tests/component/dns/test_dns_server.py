"""Cluster DNS over real sockets: objects in, answers out; upstream is a second server on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import pytest_asyncio
from dnslib import EDNS0, QTYPE, RCODE, RR, SOA, A, DNSQuestion, DNSRecord

from kumo.api.resources import CONFIGMAPS, ENDPOINTSLICES, NAMESPACES, NODES, SERVICES
from kumo.host.network.namespaces import run_in_netns
from kumo.kubernetes.dns import messages
from kumo.kubernetes.dns.cluster_dns import ClusterDns
from kumo.kubernetes.dns.config import ClusterDnsConfig
from kumo.kubernetes.dns.forward import Forwarder, Unanswered
from kumo.kubernetes.dns.publication import amendment
from kumo.kubernetes.dns.server import Ports, Resolver, Server
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig
from kumo.kubernetes.kube_proxy.proxy import KubeProxy
from support.etcd import free_ports
from support.objects import MemoryApi
from support.pods import PodLab

pytestmark = pytest.mark.component


class Upstream:
    """A DNS server on loopback that answers by a function, and counts."""

    def __init__(self, address: str, answer: Callable[[DNSRecord, bool], DNSRecord | None]) -> None:
        self.address = address
        self.asked: list[str] = []
        self._answer = answer
        self._transports: list[Any] = []
        self.port = 0

    def reply(self, data: bytes, tcp: bool) -> bytes:
        query = DNSRecord.parse(data)
        self.asked.append(str(query.q.qname))
        reply = self._answer(query, tcp)
        return bytes(reply.pack()) if reply is not None else b""

    async def start(self) -> Upstream:
        loop = asyncio.get_running_loop()
        upstream = self

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                if reply := upstream.reply(data, False):
                    self.transport.sendto(reply, addr)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            reply = upstream.reply(await reader.readexactly(size), True)
            writer.write(struct.pack("!H", len(reply)) + reply)
            writer.close()

        # TCP first: its free ports are fewer, since connections of the whole machine have theirs among them.
        server = await asyncio.start_server(serve, self.address, self.port)
        self._transports.append(server)
        self.port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=(self.address, self.port))
        self._transports.append(transport)
        return self

    def close(self) -> None:
        for transport in self._transports:
            transport.close()


def plain(query: DNSRecord, tcp: bool) -> DNSRecord:
    reply = query.reply()
    reply.ar = []
    name = str(query.q.qname)
    if name == "www.example.org." and query.q.qtype == QTYPE.A:
        reply.add_answer(RR(name, QTYPE.A, rdata=A("203.0.113.80"), ttl=300))
    elif name == "big.example.org." and not tcp:
        reply.header.tc = 1
    elif name == "big.example.org.":
        for i in range(100):
            reply.add_answer(RR(name, QTYPE.A, rdata=A(f"203.0.113.{i}"), ttl=300))
    else:
        reply.header.rcode = RCODE.NXDOMAIN
        reply.add_auth(RR("example.org.", QTYPE.SOA, rdata=SOA("a.", "b.", (1, 2, 3, 4, 5)), ttl=5))
    return reply


class Setting:
    def __init__(self, directory: Path) -> None:
        self.api = MemoryApi(
            (SERVICES, "Service"),
            (ENDPOINTSLICES, "EndpointSlice"),
            (NAMESPACES, "Namespace"),
            (NODES, "Node"),
            (CONFIGMAPS, "ConfigMap"),
        )
        self.api.put(NAMESPACES, {"metadata": {"name": "shop"}})
        self.api.put(NODES, {"metadata": {"name": "node1"}})
        self.api.put(
            SERVICES,
            {
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80}]},
            },
        )
        self.resolv_conf = directory / "resolv.conf"
        self.resolv_conf.write_text("nameserver 127.0.0.1\n")
        self.tasks: list[asyncio.Task[Any]] = []

    async def start(self, config: ClusterDnsConfig) -> ClusterDns:
        dns = ClusterDns(config, self.api.informers)
        self.tasks += [asyncio.create_task(self.api.informers.run()), asyncio.create_task(dns.run())]
        async with asyncio.timeout(10):
            await dns.ready.wait()
        return dns

    def ports(self) -> tuple[int, int]:
        piece = self.api.get(ENDPOINTSLICES, "kube-dns-node1", "kube-system")
        assert piece is not None
        return piece["ports"][0]["port"], piece["ports"][1]["port"]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest_asyncio.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    found = Setting(tmp_path)
    try:
        yield found
    finally:
        await found.stop()


def config_for(setting: Setting, address: str = "127.0.0.1", **more: Any) -> ClusterDnsConfig:
    wanted: dict[str, Any] = {"service_address": "10.96.0.10", "port": 0, "own_ranges": ("10.96.0.0/16",)} | more
    return ClusterDnsConfig(address, node_name="node1", resolv_conf=setting.resolv_conf, **wanted)


async def ask_udp(query: DNSRecord, port: int, address: str = "127.0.0.1") -> DNSRecord:
    def call() -> DNSRecord:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
            found.settimeout(10)
            found.connect((address, port))
            found.send(bytes(query.pack()))
            return DNSRecord.parse(found.recv(65535))

    return await asyncio.to_thread(call)


async def ask_tcp(queries: list[DNSRecord], port: int) -> list[DNSRecord]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for query in queries:
        data = bytes(query.pack())
        writer.write(struct.pack("!H", len(data)) + data)
    found = []
    for _ in queries:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        found.append(DNSRecord.parse(await reader.readexactly(size)))
    writer.close()
    await writer.wait_closed()
    return found


def values(record: DNSRecord) -> list[str]:
    return [str(r.rdata) for r in record.rr]


async def test_services_answer_by_udp_and_tcp(setting: Setting) -> None:
    await setting.start(config_for(setting))
    udp, tcp = setting.ports()
    found = await ask_udp(DNSRecord.question("web.shop.svc.cluster.local"), udp)
    assert values(found) == ["10.96.0.20"]
    assert (found.header.aa, found.header.ra, found.rr[0].ttl) == (1, 1, 30)
    queries = [DNSRecord.question("web.shop.svc.cluster.local"), DNSRecord.question("none.shop.svc.cluster.local")]
    one, two = await ask_tcp(queries, tcp)
    assert values(one) == ["10.96.0.20"]
    assert two.header.rcode == RCODE.NXDOMAIN
    assert two.auth[0].rtype == QTYPE.SOA
    empty = await ask_udp(DNSRecord.question("web.shop.svc.cluster.local", "AAAA"), udp)
    assert (empty.header.rcode, empty.rr, empty.auth[0].rtype) == (RCODE.NOERROR, [], QTYPE.SOA)


async def test_a_new_service_has_a_name_at_once_and_a_deleted_one_none(setting: Setting) -> None:
    await setting.start(config_for(setting))
    udp, _ = setting.ports()
    name = "new.shop.svc.cluster.local"
    assert (await ask_udp(DNSRecord.question(name), udp)).header.rcode == RCODE.NXDOMAIN
    setting.api.put(
        SERVICES, {"metadata": {"name": "new", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.21", "ports": []}}
    )
    async with asyncio.timeout(5):
        while values(await ask_udp(DNSRecord.question(name), udp)) != ["10.96.0.21"]:
            await asyncio.sleep(0.005)
    setting.api.drop(SERVICES, "new", "shop")
    async with asyncio.timeout(5):
        while (await ask_udp(DNSRecord.question(name), udp)).header.rcode != RCODE.NXDOMAIN:
            await asyncio.sleep(0.005)


async def test_the_objects_are_kept_as_they_must_be(setting: Setting) -> None:
    await setting.start(config_for(setting))
    service = setting.api.get(SERVICES, "kube-dns", "kube-system")
    assert service is not None
    assert service["spec"]["clusterIP"] == "10.96.0.10"
    setting.api.drop(ENDPOINTSLICES, "kube-dns-node1", "kube-system")
    async with asyncio.timeout(5):
        while setting.api.get(ENDPOINTSLICES, "kube-dns-node1", "kube-system") is None:
            await asyncio.sleep(0.005)
    piece = setting.api.get(ENDPOINTSLICES, "kube-dns-node1", "kube-system")
    assert piece is not None
    setting.api.put(ENDPOINTSLICES, piece | {"endpoints": []})
    async with asyncio.timeout(5):
        while not setting.api.get(ENDPOINTSLICES, "kube-dns-node1", "kube-system")["endpoints"]:  # type: ignore[index]
            await asyncio.sleep(0.005)


async def test_a_taken_port_is_no_obstacle(setting: Setting) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        await setting.start(config_for(setting, port=port))
        udp, _ = setting.ports()
        assert udp != port
        assert values(await ask_udp(DNSRecord.question("web.shop.svc.cluster.local"), udp)) == ["10.96.0.20"]


async def test_an_unreachable_upstream_is_a_server_failure_and_does_not_hold_up_others(setting: Setting) -> None:
    setting.resolv_conf.write_text("")
    await setting.start(config_for(setting))
    udp, _ = setting.ports()
    found = await ask_udp(DNSRecord.question("www.example.org"), udp)
    assert found.header.rcode == RCODE.SERVFAIL


async def test_garbage_is_answered_or_ignored(setting: Setting) -> None:
    await setting.start(config_for(setting))
    udp, _ = setting.ports()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", udp))
        for data in (b"", b"x", b"\0" * 12, bytes(range(200))):
            client.send(data)
    assert values(await ask_udp(DNSRecord.question("web.shop.svc.cluster.local"), udp)) == ["10.96.0.20"]


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    found = await Upstream("127.0.0.1", plain).start()
    yield found
    found.close()


@pytest.fixture
def forwarder(tmp_path: Path, upstream: Upstream) -> Forwarder:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\n")
    return Forwarder(path, port=upstream.port)


async def test_upstream_answers_are_cached_and_age(forwarder: Forwarder, upstream: Upstream) -> None:
    one = await asyncio.gather(*(forwarder.ask("www.example.org", QTYPE.A) for _ in range(5)))
    again = await forwarder.ask("WWW.example.org", QTYPE.A)
    assert {tuple(values(r)) for r in [*one, again]} == {("203.0.113.80",)}
    assert again.rr[0].ttl <= 300
    assert upstream.asked == ["www.example.org."]
    for _ in range(2):
        assert (await forwarder.ask("none.example.org", QTYPE.A)).header.rcode == RCODE.NXDOMAIN
    assert upstream.asked == ["www.example.org.", "none.example.org."]


async def test_stub_domains_and_other_upstreams_by_the_config_map(setting: Setting, upstream: Upstream) -> None:
    await setting.start(config_for(setting))
    udp, _ = setting.ports()
    question = DNSRecord.question("www.example.org")
    where = f"127.0.0.1:{upstream.port}"

    async def answered() -> list[str]:
        return values(await ask_udp(question, udp))

    for data in (
        {"stubDomains": f'{{"Example.org": ["{where}"]}}'},
        {"upstreamNameservers": f'["{where}"]', "stubDomains": "{}"},
    ):
        setting.resolv_conf.write_text("")
        setting.api.put(CONFIGMAPS, {"metadata": {"name": "kube-dns", "namespace": "kube-system"}, "data": data})
        async with asyncio.timeout(10):
            while await answered() != ["203.0.113.80"]:
                await asyncio.sleep(0.01)
        setting.api.drop(CONFIGMAPS, "kube-dns", "kube-system")
        async with asyncio.timeout(10):
            while await answered():
                await asyncio.sleep(0.01)


async def test_the_figures_and_readiness(setting: Setting) -> None:
    (port,) = free_ports(1)
    await setting.start(config_for(setting, metrics=f"127.0.0.1:{port}"))
    udp, _ = setting.ports()
    for kind in (QTYPE.A, QTYPE.A, 65280):
        await ask_udp(DNSRecord(q=DNSQuestion("web.shop.svc.cluster.local", kind)), udp)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        pages = {}
        for path in ("/metrics", "/health", "/ready", "/else"):
            async with session.get(path) as answer:
                pages[path] = answer.status, await answer.text()
    assert (pages["/health"], pages["/ready"], pages["/else"][0]) == ((200, "OK"), (200, "OK"), 404)
    common = 'server="dns://:53",zone=".",view="",proto="udp",family="1"'
    for line in (
        f'coredns_dns_requests_total{{{common},type="A"}} 2',
        f'coredns_dns_requests_total{{{common},type="other"}} 1',
        f'coredns_dns_responses_total{{{common},rcode="NOERROR"}} 3',
        "coredns_cache_misses_total 0",
    ):
        assert line in pages["/metrics"][1].splitlines()
    service = setting.api.get(SERVICES, "kube-dns", "kube-system")
    assert service is not None
    assert [p["name"] for p in service["spec"]["ports"]] == ["dns", "dns-tcp", "metrics"]
    # what an earlier version made is amended
    assert amendment(service) is None
    older = service["spec"] | {"ports": service["spec"]["ports"][:2], "internalTrafficPolicy": "Cluster"}
    assert amendment({"spec": older}) == {"spec": {"internalTrafficPolicy": "Local", "ports": service["spec"]["ports"]}}


class Held:
    """A resolver whose answers to all that needs others wait for a word."""

    def __init__(self) -> None:
        self.word = asyncio.Event()
        self.waiting = 0

    def now(self, query: DNSRecord) -> DNSRecord | None:
        return messages.reply_to(query) if str(query.q.qname) == "here." else None

    async def later(self, query: DNSRecord) -> DNSRecord:
        self.waiting += 1
        await self.word.wait()
        return messages.reply_to(query, code=RCODE.NXDOMAIN)


@pytest_asyncio.fixture
async def held() -> AsyncIterator[tuple[Held, Ports]]:
    resolver = Held()
    server = Server(cast(Resolver, resolver), "127.0.0.1", 0)
    yield resolver, await server.start()
    await server.close()


async def test_questions_on_one_connection_do_not_wait_for_each_other(held: tuple[Held, Ports]) -> None:
    resolver, ports = held
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.tcp)

    async def answer() -> DNSRecord:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        return DNSRecord.parse(await reader.readexactly(size))

    for name in ("elsewhere", "here"):
        data = bytes(DNSRecord.question(name).pack())
        writer.write(struct.pack("!H", len(data)) + data)
    writer.write_eof()  # answers come all the same
    async with asyncio.timeout(10):
        assert str((await answer()).q.qname) == "here."
        resolver.word.set()
        assert (await answer()).header.rcode == RCODE.NXDOMAIN
        assert await reader.read() == b""
    writer.close()
    # no more than so many at once, and all of them in the end
    resolver.word.clear()
    resolver.waiting = 0
    asking = asyncio.create_task(ask_tcp([DNSRecord.question("elsewhere")] * 40, ports.tcp))
    async with asyncio.timeout(10):
        while resolver.waiting < 16:
            await asyncio.sleep(0.005)
        assert str((await ask_udp(DNSRecord.question("here"), ports.udp)).q.qname) == "here."
        assert resolver.waiting == 16
        resolver.word.set()
        assert len(await asking) == 40


async def test_questions_that_wait_are_bounded(held: tuple[Held, Ports]) -> None:
    resolver, ports = held
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", ports.udp))
        data = bytes(DNSRecord.question("elsewhere").pack())
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            while resolver.waiting < 1000:
                for _ in range(50):
                    client.send(data)
                reached = resolver.waiting
                await asyncio.sleep(0.001)
                assert resolver.waiting >= reached
            client.send(data)
            assert DNSRecord.parse(await loop.sock_recv(client, 2000)).header.rcode == RCODE.SERVFAIL
        assert resolver.waiting == 1000
        assert str((await ask_udp(DNSRecord.question("here"), ports.udp)).q.qname) == "here."


async def test_a_newer_edns_is_told_which_one_we_know(setting: Setting) -> None:
    await setting.start(config_for(setting))
    udp, _ = setting.ports()
    query = DNSRecord.question("web.shop.svc.cluster.local")
    query.add_ar(EDNS0(version=1, udp_len=1232))
    found = await ask_udp(query, udp)
    assert (found.rr, found.ar[0].ttl >> 24, found.ar[0].ttl >> 16 & 0xFF) == ([], 1, 0)  # BADVERS is 16: 1 and 0


async def test_a_cut_answer_is_asked_for_again_by_tcp(forwarder: Forwarder) -> None:
    assert len((await forwarder.ask("big.example.org", QTYPE.A)).rr) == 100


async def test_our_own_addresses_are_never_upstream(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 10.96.0.10\n")
    with pytest.raises(Unanswered, match="no server is configured"):
        await Forwarder(path, frozenset({"10.96.0.10"})).ask("www.example.org", QTYPE.A)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and nftables")
async def test_a_pod_asks_at_the_services_address(setting: Setting, tmp_path: Path) -> None:
    lab = PodLab(tmp_path / "network")
    proxy: KubeProxy | None = None
    try:
        await lab.open()
        pod = await lab.pod()
        network = lab.config
        address = lab.service_cidr.replace("0/24", "10")
        proxy_config = KubeProxyConfig(
            f"{network.table}-proxy", "node1", lab.service_cidr, network.pod_cidr, network.bridge, network.gateway
        )
        proxy = KubeProxy(proxy_config, setting.api.informers)
        setting.tasks.append(asyncio.create_task(proxy.run()))
        await setting.start(config_for(setting, network.gateway, service_address=address, port=53))
        async with asyncio.timeout(10):
            await proxy.ready.wait()  # from now on nothing to the service range leaves the machine

        def ask() -> DNSRecord:
            found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with found:
                found.settimeout(1)
                found.connect((address, 53))
                query = DNSRecord.question("web.shop.svc.cluster.local")
                query.add_ar(EDNS0(udp_len=1232))
                found.send(bytes(query.pack()))
                return DNSRecord.parse(found.recv(2000))

        async with asyncio.timeout(10):
            while True:
                try:
                    answer = await asyncio.to_thread(run_in_netns, pod.netns, ask)
                    break
                except OSError:
                    await asyncio.sleep(0.01)
        assert values(answer) == ["10.96.0.20"], str(answer)
    finally:
        await setting.stop()
        if proxy is not None:
            await proxy.remove()
        await lab.close()
