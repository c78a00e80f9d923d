"""What services cost a node: kube-proxy's transactions, network policies' transactions, names.

    sudo python -m benchmarks.services

Needs root: it writes nftables tables of its own (`kumo-bench-*`, ranges of RFC 5737 and RFC 2544) and removes them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from dnslib import DNSRecord

from benchmarks.figures import Figure, figure
from kumo.api.objects import Key, Object
from kumo.host.fragments import FragmentTable
from kumo.host.nftables import Nft
from kumo.kubernetes.dns.catalog import Backend
from kumo.kubernetes.dns.config import ClusterDnsConfig
from kumo.kubernetes.dns.forward import Forwarder
from kumo.kubernetes.dns.server import Resolver, Server
from kumo.kubernetes.dns.zone import Zone
from kumo.kubernetes.kube_proxy import rules as proxy_rules
from kumo.kubernetes.kube_proxy.config import IPV4, KubeProxyConfig
from kumo.kubernetes.kube_proxy.endpoints import Place
from kumo.kubernetes.kube_proxy.services import ServicePort, service_ports
from kumo.kubernetes.network_policy import rules as policy_rules
from kumo.kubernetes.network_policy.census import Census
from kumo.kubernetes.network_policy.policies import Pod, policy_of

SERVICES, ENDPOINTS, POLICIES, PODS, QUESTIONS = 1000, 2, 100, 1000, 5000
PROXY = KubeProxyConfig("kumo-bench-services", "n1", "198.18.0.0/16", "198.19.0.0/16", "lo", "198.19.0.1")


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _ports(number: int, first: int) -> list[ServicePort]:
    """A Service's ports, read from its objects as kube-proxy reads them."""
    address = f"198.18.{number // 250}.{number % 250 + 1}"
    service = {
        "metadata": {"name": f"s{number}", "namespace": "bench"},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}]},
    }
    found = [f"198.19.{(first + i) // 250 % 250}.{(first + i) % 250 + 2}" for i in range(ENDPOINTS)]
    piece = {
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}, "nodeName": "n1"} for a in found],
    }
    return service_ports(service, [piece], Place("n1"), IPV4)


def proxy() -> list[Figure]:
    """A thousand services at once, and one of them changed."""
    nft, network = Nft(), PROXY.networks[0]
    table, writer = FragmentTable("ip", PROXY.table), proxy_rules.Writer(network)

    def everything() -> None:
        made = {Key("bench", str(n)): writer.fragment(_ports(n, n * ENDPOINTS)) for n in range(SERVICES)}
        nft.apply(proxy_rules.base(PROXY, network) + table.change(made))

    def one(turn: int) -> None:
        nft.apply(table.change({Key("bench", "7"): writer.fragment(_ports(7, 10000 + turn * ENDPOINTS))}))

    try:
        whole = _milliseconds(everything)
        changes = [_milliseconds(lambda turn=turn: one(turn)) for turn in range(50)]
    finally:
        nft.delete_table("ip", PROXY.table)
    return [
        figure(f"kube-proxy: {SERVICES} services x {ENDPOINTS} endpoints, all", "ms", whole),
        figure("kube-proxy: one of them changed", "ms", changes, 15),
    ]


def policies() -> list[Figure]:
    """A new pod among a thousand, with a hundred policies."""
    nft, census = Nft(), Census("n1")
    table = FragmentTable("ip", "kumo-bench-policies")
    for n in range(POLICIES):
        peer = {"podSelector": {"matchLabels": {"app": f"a{n}"}}}
        spec = {"podSelector": {"matchLabels": {"app": f"a{(n + 1) % POLICIES}"}}, "ingress": [{"from": [peer]}]}
        census.put_policy(policy_of({"metadata": {"name": f"p{n}", "namespace": "bench"}, "spec": spec}))
    for n in range(PODS):
        census.put_pod(Pod(Key("bench", f"pod{n}"), {"app": f"a{n % POLICIES}"}, "n1", (_pod_address(n),)))

    def change() -> str:
        pods, touched = census.take()
        wanted = {
            Key("policy", str(k)): policy_rules.PolicyWriter(census.policies[k], "ip", census).fragment()
            for k in touched
        }
        for key in pods:
            pod = census.pod(key)
            assert pod is not None
            isolating = census.isolating(pod)
            for direction, found in isolating.items():
                if found:
                    wanted[policy_rules.gate_key(direction, found)] = policy_rules.gate_fragment(direction, found)
            wanted[Key("pod", str(key))] = policy_rules.pod_fragment(pod, isolating, "ip")
        return table.change(wanted)

    def one(turn: int) -> None:
        census.put_pod(Pod(Key("bench", f"new{turn}"), {"app": f"a{turn}"}, "n1", (_pod_address(PODS + turn),)))
        nft.apply(change())

    try:
        whole = _milliseconds(lambda: nft.apply(policy_rules.base("kumo-bench-policies", "ip") + change()))
        changes = [_milliseconds(lambda turn=turn: one(turn)) for turn in range(50)]
    finally:
        nft.delete_table("ip", "kumo-bench-policies")
    return [
        figure(f"network policies: {POLICIES} for {PODS} pods, all", "ms", whole),
        figure("network policies: one pod more", "ms", changes),
    ]


def _pod_address(number: int) -> str:
    return f"198.19.{number // 250}.{number % 250 + 2}"


class _Names:
    """A catalog with one Service."""

    def has_namespace(self, name: str) -> bool:
        return name == "bench"

    def service(self, key: Key) -> Object | None:
        ports = [{"name": "http", "port": 80}]
        return {"metadata": {"name": "web"}, "spec": {"clusterIP": "198.18.0.9", "ports": ports}}

    def backends(self, key: Key) -> list[Backend]:
        return []

    def services_at(self, address: str) -> list[Object]:
        return []

    def backends_at(self, address: str) -> list[Backend]:
        return []


def _ask(port: int, count: int) -> float:
    """Ask one question after the other; seconds for all."""
    question = bytes(DNSRecord.question("web.bench.svc.cluster.local").pack())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(5)
        began = time.perf_counter()
        for _ in range(count):
            client.send(question)
            client.recv(512)
        return time.perf_counter() - began


async def names() -> list[Figure]:
    """Four clients that ask for a Service's address."""
    config = ClusterDnsConfig("127.0.0.1", "198.18.0.10", "n1", port=0)
    forwarder = Forwarder(Path("/dev/null"))
    server = Server(Resolver(Zone(config, _Names()), forwarder, lambda: True), "127.0.0.1", 0)
    ports = await server.start()
    clients, loop = 4, asyncio.get_running_loop()
    try:
        with get_context("spawn").Pool(clients) as pool:
            await loop.run_in_executor(None, lambda: pool.starmap(_ask, [(ports.udp, 10)] * clients))
            spent, began = time.process_time(), time.perf_counter()
            asked = [(ports.udp, QUESTIONS // clients)] * clients
            await loop.run_in_executor(None, lambda: pool.starmap(_ask, asked))
            wall, cpu = time.perf_counter() - began, time.process_time() - spent
    finally:
        await server.close()
        await forwarder.close()
    return [
        figure("cluster DNS: CPU of a question", "us", cpu / QUESTIONS * 1e6),
        figure(f"cluster DNS: {QUESTIONS} questions of {clients} clients", "s", wall),
    ]


def main() -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        raise SystemExit("nftables are root's: sudo python -m benchmarks.services")
    for found in (*proxy(), *policies(), *asyncio.run(names())):
        print(found.line())


if __name__ == "__main__":
    main()
