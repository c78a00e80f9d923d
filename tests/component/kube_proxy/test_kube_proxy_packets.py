"""kube-proxy with the kernel: Services as objects in, packets between namespaces out."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.resources import ENDPOINTSLICES, NODES, SERVICES
from kumo.host.nftables import Nft
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig
from kumo.kubernetes.kube_proxy.proxy import KubeProxy
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
        )
        self.tasks: list[asyncio.Task[Any]] = []
        self.proxy = KubeProxy(self.config, self.api.informers)

    def address(self, number: int) -> str:
        """A cluster IP."""
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

    def service(self, name: str, number: int, protocol: str = "TCP", **spec: Any) -> None:
        port: dict[str, Any] = {"port": 80, "protocol": protocol}
        if "nodePort" in spec:
            port["nodePort"] = spec.pop("nodePort")
        body = {"clusterIP": self.address(number), "ports": [port], **spec}
        self.api.put(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": body})

    def endpoints(self, name: str, *addresses: str, protocol: str = "TCP", port: int = 8080) -> None:
        self.api.put(
            ENDPOINTSLICES,
            {
                "metadata": {
                    "name": f"{name}-abcde",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
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
    lab = PodLab(tmp_path)
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
