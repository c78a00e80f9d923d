"""kube-proxy with the kernel: Services as objects in, packets between namespaces out."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.objects import Key
from kumo.api.resources import ENDPOINTSLICES, NODES, SERVICES
from kumo.host.network.links import Address, Links
from kumo.host.network.namespaces import run_in_netns
from kumo.host.nftables import Nft
from kumo.kubernetes.kube_proxy.announcement import OWNED
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig, Network
from kumo.kubernetes.kube_proxy.proxy import KubeProxy
from kumo.machinery.restarting import Restarted
from support.objects import MemoryApi
from support.pods import Pod, PodLab, ask_tcp, ask_udp

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and nftables"),
]


class Setting:
    """A proxy that runs, pods, and objects."""

    def __init__(self, lab: PodLab) -> None:
        self.lab = lab
        self.api = MemoryApi((SERVICES, "Service"), (ENDPOINTSLICES, "EndpointSlice"), (NODES, "Node"))
        config = lab.config
        self.config = KubeProxyConfig(
            table=f"{config.table}-proxy",
            node_name="node1",
            service_cidr=lab.service_cidr,
            cluster_cidr=str(config.cluster_network),
            bridge=config.bridge,
            gateway=config.gateway,
            second=Network(lab.service_cidr6, str(config.cluster_network6), config.gateway6),
            healthz=f"{config.gateway}:10256",
            metrics=f"{config.gateway}:10249",
        )
        self.tasks: list[asyncio.Task[Any]] = []
        self.proxy = KubeProxy(self.config, self.api.informers)

    def address(self, number: int, *, six: bool = False) -> str:
        """A cluster IP."""
        if six:
            return self.lab.service_cidr6.replace("::/112", f"::{number}")
        return self.lab.service_cidr.replace("0/24", str(number))

    async def start(self) -> None:
        self.tasks = [asyncio.create_task(self.api.informers.run()), asyncio.create_task(self.proxy.run())]
        async with asyncio.timeout(10):
            await self.proxy.ready.wait()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.proxy.remove()

    def service(
        self, name: str, number: int, protocol: str = "TCP", *, balancer: str = "", both: bool = False, **spec: Any
    ) -> None:
        """A Service, with the address of a load balancer of the cloud's own if one is given."""
        port: dict[str, Any] = {"port": 80, "protocol": protocol}
        if "nodePort" in spec:
            port["nodePort"] = spec.pop("nodePort")
        addresses = [self.address(number), *([self.address(number, six=True)] if both else [])]
        body = {"clusterIP": addresses[0], "clusterIPs": addresses, "ports": [port], **spec}
        meta: dict[str, Any] = {"name": name, "namespace": "default"}
        status: dict[str, Any] = {}
        if balancer:
            body["type"], meta["annotations"] = "LoadBalancer", {OWNED: "kumo.dev/pool"}
            status = {"loadBalancer": {"ingress": [{"ip": balancer, "ipMode": "VIP"}]}}
        self.api.put(SERVICES, {"metadata": meta, "spec": body, "status": status})

    def endpoints(self, name: str, *addresses: str, protocol: str = "TCP", port: int = 8080) -> None:
        six = any(":" in a for a in addresses)
        self.api.put(
            ENDPOINTSLICES,
            {
                "metadata": {
                    "name": f"{name}-{'six' if six else 'abcde'}",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv6" if six else "IPv4",
                "ports": [{"name": "", "port": port, "protocol": protocol}],
                "endpoints": [
                    {"addresses": [a], "conditions": {"ready": True}, "nodeName": "node1"} for a in addresses
                ],
            },
        )


async def eventually(check: Any, wanted: Any, seconds: float = 10) -> None:
    """Call `check` (a coroutine function; OSError counts as its class) until it gives `wanted`."""
    found: Any = None
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                try:
                    found = await check()
                except OSError as error:
                    found = type(error)
                if found == wanted:
                    return
                await asyncio.sleep(0.01)
    assert found == wanted


@pytest_asyncio.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    lab = PodLab(tmp_path, dual=True)
    try:
        await lab.open()
        found = Setting(lab)
        try:
            yield found
        finally:
            await found.stop()
    finally:
        await lab.close()


async def two_servers(setting: Setting) -> tuple[Pod, Pod]:
    one, two = await setting.lab.pod(), await setting.lab.pod()
    for pod, name in ((one, "one"), (two, "two")):
        pod.serve_tcp(8080, name)
        pod.serve_udp(8080, name)
    return one, two


async def test_a_cluster_ip_leads_to_all_endpoints_from_everywhere(setting: Setting) -> None:
    one, two = await two_servers(setting)
    client = await setting.lab.pod()
    setting.service("web", 10)
    setting.endpoints("web", one.address, two.address)
    await setting.start()
    for caller in (client.netns, one.netns, ""):
        names = Counter([(await ask_tcp(setting.address(10), 80, netns=caller))[1] for _ in range(30)])
        assert set(names) == {"one", "two"}
    assert (await client.ask_tcp(setting.address(10), 80))[0] == client.address


async def test_a_pod_reaches_itself_through_its_service(setting: Setting) -> None:
    pod = await setting.lab.pod()
    pod.serve_tcp(8080, "me")
    setting.service("web", 10)
    setting.endpoints("web", pod.address)
    await setting.start()
    assert await pod.ask_tcp(setting.address(10), 80) == (setting.lab.config.gateway, "me")


async def test_without_endpoints_and_on_unknown_ports_connections_are_refused(setting: Setting) -> None:
    one, _ = await two_servers(setting)
    setting.service("empty", 11, nodePort=30911, type="NodePort")
    setting.service("web", 10)
    setting.endpoints("web", one.address)
    await setting.start()
    for address, port in ((11, 80), (10, 81), (99, 80)):
        for caller in (one.netns, ""):
            with pytest.raises(ConnectionRefusedError):
                await ask_tcp(setting.address(address), port, netns=caller)
    with pytest.raises(ConnectionRefusedError):
        await one.ask_tcp(setting.lab.config.gateway, 30911)


async def test_changes_arrive_within_milliseconds(setting: Setting) -> None:
    one, two = await two_servers(setting)
    await setting.start()

    async def answer() -> str:
        return (await ask_tcp(setting.address(10), 80, timeout=1, netns=one.netns))[1]

    setting.service("web", 10)
    setting.endpoints("web", two.address)
    await eventually(answer, "two")
    setting.endpoints("web", one.address)
    await eventually(answer, "one")
    setting.endpoints("web")
    await eventually(answer, ConnectionRefusedError)
    setting.endpoints("web", one.address)
    await eventually(answer, "one")
    setting.api.drop(SERVICES, "web", "default")
    await eventually(answer, ConnectionRefusedError)


async def test_node_ports_and_external_addresses(setting: Setting) -> None:
    one, _ = await two_servers(setting)
    client = await setting.lab.pod()
    setting.service("web", 10, nodePort=30910, type="NodePort", externalIPs=["203.0.113.7"])
    setting.endpoints("web", one.address)
    await setting.start()
    gateway = setting.lab.config.gateway
    for caller in (client.netns, one.netns, ""):
        assert await ask_tcp(gateway, 30910, netns=caller) == (gateway, "one")
    assert (await ask_tcp("127.0.0.1", 30910))[1] == "one"
    assert (await client.ask_tcp("203.0.113.7", 80))[1] == "one"


async def test_a_local_policy_keeps_pods_addresses_and_drops_without_local_endpoints(setting: Setting) -> None:
    one, _ = await two_servers(setting)
    client = await setting.lab.pod()
    setting.service("web", 10, nodePort=30912, type="NodePort", externalTrafficPolicy="Local")
    setting.endpoints("web", one.address)
    await setting.start()
    assert await client.ask_tcp(setting.lab.config.gateway, 30912) == (client.address, "one")
    assert (await ask_tcp(setting.lab.config.gateway, 30912))[1] == "one"


async def test_session_affinity_holds_one_client_at_one_endpoint(setting: Setting) -> None:
    one, two = await two_servers(setting)
    clients = [await setting.lab.pod() for _ in range(6)]
    setting.service("web", 10, sessionAffinity="ClientIP")
    setting.endpoints("web", one.address, two.address)
    await setting.start()
    for client in clients:
        names = {(await client.ask_tcp(setting.address(10), 80))[1] for _ in range(8)}
        assert len(names) == 1
    setting.endpoints("web", two.address)

    async def all_at_two() -> set[str]:
        return {(await client.ask_tcp(setting.address(10), 80))[1] for client in clients}

    await eventually(all_at_two, {"two"})


async def remembered(setting: Setting) -> int:
    """How many clients the kernel remembers for their endpoints."""
    listed = await asyncio.to_thread(Nft().list_table, "ip", setting.config.table)
    sets = [entry["set"] for entry in listed if "set" in entry]
    return sum(len(s.get("elem") or ()) for s in sets if s["name"].startswith("aff-"))


async def test_session_affinity_ends_with_its_time(setting: Setting) -> None:
    one, two = await two_servers(setting)
    client = await setting.lab.pod()
    config = {"clientIP": {"timeoutSeconds": 1}}
    setting.service("web", 10, sessionAffinity="ClientIP", sessionAffinityConfig=config)
    setting.endpoints("web", one.address, two.address)
    await setting.start()
    assert await remembered(setting) == 0
    seen: set[str] = set()

    async def after_it_was_forgotten() -> set[str]:
        if await remembered(setting) == 0:
            seen.add((await client.ask_tcp(setting.address(10), 80))[1])
        return seen

    await eventually(after_it_was_forgotten, {"one", "two"}, 30)


async def test_a_udp_client_moves_on_when_its_endpoint_goes(setting: Setting) -> None:
    one, two = await two_servers(setting)
    pod = await setting.lab.pod()
    setting.service("dns", 10, "UDP")
    setting.endpoints("dns", one.address, protocol="UDP")
    await setting.start()
    client = pod.udp_client(setting.address(10), 80, timeout=1)
    assert await ask_udp(client) == (pod.address, "one")
    setting.endpoints("dns", two.address, protocol="UDP")

    async def answer() -> str:
        return (await ask_udp(client))[1]

    await eventually(answer, "two")
    two.serve_udp(9090, "two, elsewhere")
    setting.endpoints("dns", two.address, protocol="UDP", port=9090)
    await eventually(answer, "two, elsewhere")  # the same pod at another port


async def test_a_restart_replaces_what_a_killed_run_left(setting: Setting) -> None:
    one, two = await two_servers(setting)
    setting.service("web", 10)
    setting.endpoints("web", one.address)
    await setting.start()
    for task in setting.tasks:
        task.cancel()
    await asyncio.gather(*setting.tasks, return_exceptions=True)
    assert (await two.ask_tcp(setting.address(10), 80))[1] == "one"  # the rules stay
    setting.api.drop(SERVICES, "web", "default")
    setting.service("other", 11)
    setting.endpoints("other", two.address)
    setting.api.informers = type(setting.api.informers)(setting.api.client)
    setting.proxy = KubeProxy(setting.config, setting.api.informers)
    await setting.start()
    assert (await one.ask_tcp(setting.address(11), 80))[1] == "two"
    with pytest.raises(ConnectionRefusedError):
        await one.ask_tcp(setting.address(10), 80)


async def test_a_failure_that_nobody_foresaw_begins_it_again(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the node's process runs it: what changed while it failed is in the kernel afterwards, its pages are served."""
    one, two = await two_servers(setting)
    setting.service("web", 10)
    setting.endpoints("web", one.address)
    again = Restarted(setting.proxy, first=0.01)
    setting.tasks = [asyncio.create_task(setting.api.informers.run()), asyncio.create_task(again.run())]
    await setting.proxy.ready.wait()
    sync = setting.proxy._sync
    failures: list[set[Key]] = []
    page = f"http://{setting.lab.config.gateway}:10256/livez"

    async def broken(keys: set[Key]) -> None:
        if not failures:
            failures.append(keys)
            raise TypeError("a defect")
        await sync(keys)

    monkeypatch.setattr(setting.proxy, "_sync", broken)
    setting.endpoints("web", two.address)

    async def answer() -> str:
        return (await ask_tcp(setting.address(10), 80, timeout=1, netns=one.netns))[1]

    await eventually(answer, "two")
    assert len(failures) == 1 and not setting.tasks[1].done()
    setting.endpoints("web", one.address)
    await eventually(answer, "one")

    def get() -> int:
        with urllib.request.urlopen(page, timeout=1) as reply:
            return int(reply.status)

    async def status() -> int:
        return await asyncio.to_thread(get)

    await eventually(status, 200)


async def test_lost_rules_are_written_again(setting: Setting) -> None:
    one, two = await two_servers(setting)
    setting.service("web", 10)
    setting.endpoints("web", one.address)
    await setting.start()
    await asyncio.to_thread(Nft().delete_table, "ip", setting.config.table)
    setting.endpoints("web", two.address)

    async def answer() -> str:
        return (await one.ask_tcp(setting.address(10), 80, timeout=1))[1]

    await eventually(answer, "two")


async def test_with_a_thousand_services_a_change_is_still_one_small_transaction(setting: Setting) -> None:
    one, two = await two_servers(setting)
    for i in range(1000):
        body = {"clusterIP": f"198.51.{100 + i // 250}.{i % 250 + 1}", "ports": [{"port": 80}]}
        setting.api.put(SERVICES, {"metadata": {"name": f"many-{i}", "namespace": "default"}, "spec": body})
        setting.endpoints(f"many-{i}", one.address, two.address)
    setting.service("web", 10)
    setting.endpoints("web", one.address)
    began = time.perf_counter()
    await setting.start()
    assert time.perf_counter() - began < 5  # 0.2 s on an idle machine

    async def answer() -> str:
        return (await one.ask_tcp(setting.address(10), 80, timeout=1))[1]

    await eventually(answer, "one")
    began = time.perf_counter()
    setting.endpoints("web", two.address)
    await eventually(answer, "two")
    assert time.perf_counter() - began < 1  # 0.01 s on an idle machine


async def http(url: str, netns: str = "") -> tuple[int, str]:
    """Status and body of a GET, without any proxy of the machine's."""

    def call() -> tuple[int, str]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(run_in_netns, netns, call) if netns else await asyncio.to_thread(call)


async def test_both_families_of_one_service(setting: Setting) -> None:
    one, two = await two_servers(setting)
    for pod, name in ((one, "one"), (two, "two")):
        pod.serve_tcp(8080, name, six=True)
        pod.serve_udp(8080, name, six=True)
    setting.service("web", 10, both=True, nodePort=30920, type="NodePort")
    setting.endpoints("web", one.address)
    setting.endpoints("web", one.address6, two.address6)
    setting.service("empty", 11, both=True)
    await setting.start()
    six = setting.address(10, six=True)
    for caller in (one.netns, two.netns, ""):
        names = Counter([(await ask_tcp(six, 80, netns=caller))[1] for _ in range(20)])
        assert min(names["one"], names["two"]) >= 8  # by turns, but for packets that are sent twice
        assert (await ask_tcp(setting.address(10), 80, netns=caller))[1] == "one"
    assert (await two.ask_tcp(setting.lab.config.gateway6, 30920))[1] in ("one", "two")
    for address, port in ((setting.address(11, six=True), 80), (six, 81)):
        with pytest.raises(ConnectionRefusedError):
            await one.ask_tcp(address, port)
    setting.service("dns", 12, "UDP", both=True)
    setting.endpoints("dns", one.address6, protocol="UDP")
    client = two.udp_client(setting.address(12, six=True), 80, timeout=1)

    async def answer() -> str:
        return (await ask_udp(client))[1]

    await eventually(answer, "one")
    setting.endpoints("dns", two.address6, protocol="UDP")
    await eventually(answer, "two")  # the flow to the endpoint that went is forgotten


async def test_a_balancers_address_is_the_nodes_and_open_to_its_source_ranges(setting: Setting) -> None:
    one, _ = await two_servers(setting)
    friend, stranger = await setting.lab.pod(), await setting.lab.pod()
    balancer = setting.address(200).replace("198.", "203.")
    setting.service("web", 10, balancer=balancer)
    setting.endpoints("web", one.address)
    await setting.start()

    def held() -> bool:
        with Links() as links:
            return Address(balancer, 32) in links.addresses(setting.lab.config.bridge)

    assert await asyncio.to_thread(held)
    for caller in (friend.netns, stranger.netns, one.netns, ""):
        assert (await ask_tcp(balancer, 80, netns=caller))[1] == "one"
    with socket.create_server(("0.0.0.0", 0)) as server, pytest.raises(ConnectionRefusedError):
        await friend.ask_tcp(balancer, server.getsockname()[1])  # the node's own servers are not behind it
    setting.service("web", 10, balancer=balancer, loadBalancerSourceRanges=[f"{friend.address}/32"])

    async def let_in() -> list[str]:
        found = []
        for name, pod in (("friend", friend), ("stranger", stranger)):
            try:
                await pod.ask_tcp(balancer, 80, timeout=0.5)
                found.append(name)
            except TimeoutError:
                continue
        return found

    await eventually(let_in, ["friend"])
    assert (await stranger.ask_tcp(setting.address(10), 80))[1] == "one"  # only the balancer is guarded
    setting.endpoints("web")

    async def answer() -> str:
        return (await ask_tcp(balancer, 80, netns=friend.netns))[1]

    await eventually(answer, ConnectionRefusedError)
    setting.api.drop(SERVICES, "web", "default")

    async def is_held() -> bool:
        return await asyncio.to_thread(held)

    await eventually(is_held, False)


async def test_health_ports_and_pages_answer_as_upstream(setting: Setting) -> None:
    one, _ = await two_servers(setting)
    with socket.create_server(("0.0.0.0", 0)) as probe:
        port = probe.getsockname()[1]
    setting.api.put(NODES, {"metadata": {"name": "node1"}})
    setting.service("web", 10, balancer="203.0.113.77", externalTrafficPolicy="Local", healthCheckNodePort=port)
    setting.endpoints("web", one.address)
    await setting.start()
    gateway = setting.lab.config.gateway
    code, body = await http(f"http://{gateway}:{port}/")
    assert (code, json.loads(body)) == (
        200,
        {"service": {"namespace": "default", "name": "web"}, "localEndpoints": 1, "serviceProxyHealthy": True},
    )
    setting.endpoints("web")

    async def ill() -> int:
        return (await http(f"http://{gateway}:{port}/"))[0]

    await eventually(ill, 503)
    setting.service("web", 10, balancer="203.0.113.77")

    async def free() -> bool:
        with socket.create_server(("0.0.0.0", port)):
            return True

    await eventually(free, True)
    code, body = await http(f"http://{gateway}:10256/healthz")
    assert (code, json.loads(body)["nodeEligible"]) == (200, True)
    setting.api.drop(NODES, "node1")

    async def eligible() -> int:
        return (await http(f"http://{gateway}:10256/healthz"))[0]

    await eventually(eligible, 503)
    assert (await http(f"http://{gateway}:10256/livez"))[0] == 200
    figures = (await http(f"http://{gateway}:10249/metrics"))[1]
    for name in (
        'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv6"}',
        "kubeproxy_sync_proxy_rules_service_changes_total",
        'kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="external"} 0',
        'kubeproxy_proxy_healthz_total{code="503"}',
    ):
        assert name in figures


async def test_a_node_that_learns_its_zone_prefers_near_endpoints(setting: Setting) -> None:
    one, two = await two_servers(setting)
    setting.service("web", 10)
    setting.endpoints("web", one.address, two.address)
    piece = setting.api.get(ENDPOINTSLICES, "web-abcde", "default")
    assert piece is not None
    for endpoint, zone in zip(piece["endpoints"], ("west", "east"), strict=True):
        endpoint["hints"] = {"forZones": [{"name": zone}]}
    setting.api.put(ENDPOINTSLICES, piece)
    await setting.start()

    async def names() -> set[str]:
        return {(await ask_tcp(setting.address(10), 80, netns=one.netns))[1] for _ in range(6)}

    assert await names() == {"one", "two"}
    for zone, name in (("east", "two"), ("west", "one")):
        setting.api.put(NODES, {"metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": zone}}})
        await eventually(names, {name})


def sctp_init(source: int, target: int) -> bytes:
    """The first packet of an association (RFC 9260): the common header with its CRC32c, and an INIT chunk."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x1234, 65536, 1, 1, 1)
    checksum = 0xFFFFFFFF
    for octet in struct.pack("!HHII", source, target, 0, 0) + chunk:
        checksum ^= octet
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    head = struct.pack("!HHI", source, target, 0) + struct.pack("<I", checksum ^ 0xFFFFFFFF)
    return head + chunk


@pytest.mark.skipif(
    not Path("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established").exists(),
    reason="the kernel's connection tracking has no SCTP",
)
async def test_sctp_is_led_though_the_machine_may_have_no_sockets_of_it(setting: Setting) -> None:
    """The kernel's connection tracking knows SCTP; a raw socket sees what comes."""
    one, two = await setting.lab.pod(), await setting.lab.pod()
    setting.service("signals", 10, "SCTP")
    setting.endpoints("signals", one.address, protocol="SCTP")
    await setting.start()

    def raw() -> socket.socket:
        found = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
        found.settimeout(1)
        return found

    with run_in_netns(one.netns, raw) as server, run_in_netns(two.netns, raw) as client:

        async def came() -> tuple[str, int]:
            await asyncio.to_thread(client.sendto, sctp_init(5000, 80), (setting.address(10), 0))
            data, (sender, _) = await asyncio.to_thread(server.recvfrom, 200)
            return sender, struct.unpack("!H", data[22:24])[0]

        await eventually(came, (two.address, 8080))
