"""Network policies with the kernel: who reaches whom, cell by cell, by real packets between namespaces."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from kumo.api.resources import ENDPOINTSLICES, NAMESPACES, PODS
from kumo.host.network import cni
from kumo.host.network.namespaces import run_in_netns
from kumo.kubernetes.network_policy.enforcer import (
    NETWORK_POLICIES,
    NetworkPolicyConfig,
    NetworkPolicyEnforcer,
    NotEnforced,
)
from support.objects import MemoryApi
from support.pods import Pod, PodLab

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and nftables"),
]

NAMES = ("x/a", "x/b", "y/a", "y/b")
TCP, OTHER, UDP, RANGE = ("tcp", 80), ("tcp", 81), ("udp", 80), ("tcp", 8085)
PORTS = (TCP, OTHER, UDP, RANGE)


class Cell(NamedTuple):
    """One question: may `source` (a pod, or `node`) talk to `target` at this port?"""

    source: str
    target: str
    protocol: str
    port: int


Target = tuple[Cell, bool]
"""A cell, and whether it is asked by IPv6."""


def probe(netns: str, targets: dict[Target, str], seconds: float) -> set[Target]:
    """Which of the targets (by address) answer, asked from the namespace all at once."""

    def ask() -> set[Target]:
        poll, waiting, answered = select.epoll(), {}, set()
        for target, address in targets.items():
            cell = target[0]
            kind = socket.SOCK_STREAM if cell.protocol == "tcp" else socket.SOCK_DGRAM
            found = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            found.setblocking(False)
            with suppress(BlockingIOError):
                found.connect((address, cell.port))
            if cell.protocol == "udp":
                with suppress(OSError):
                    found.send(b"?")
            waiting[found.fileno()] = (target, found)
            poll.register(found.fileno(), select.EPOLLIN)
        deadline = time.monotonic() + seconds
        while waiting and (left := deadline - time.monotonic()) > 0:
            for number, _ in poll.poll(left):
                target, found = waiting.pop(number)
                poll.unregister(number)
                with suppress(OSError), found:
                    if found.recv(100):
                        answered.add(target)
        for _, found in waiting.values():
            found.close()
        poll.close()
        return answered

    return run_in_netns(netns, ask) if netns else ask()


class Setting:
    """Four pods in two namespaces, each with servers, an enforcer, and objects."""

    def __init__(self, lab: PodLab) -> None:
        self.lab = lab
        kinds = ((PODS, "Pod"), (NAMESPACES, "Namespace"), (ENDPOINTSLICES, "EndpointSlice"))
        self.api = MemoryApi(*kinds, (NETWORK_POLICIES, "NetworkPolicy"))
        self.config = NetworkPolicyConfig(f"{lab.config.table}-policies", "node1")
        self.enforcer = NetworkPolicyEnforcer(self.config, self.api.informers)
        self.pods: dict[str, Pod] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        self.threads = ThreadPoolExecutor(8)

    async def start(self) -> None:
        for name in NAMES:
            pod = self.pods[name] = await self.lab.pod()
            for port in (80, 81, 8085):
                pod.serve_tcp(port, name)
                pod.serve_tcp(port, name, six=True)
            pod.serve_udp(80, name)
            self.put_pod(name)
        for namespace in ("x", "y"):
            self.api.put(NAMESPACES, {"metadata": {"name": namespace, "labels": {"ns": namespace}}})
        self.tasks = [asyncio.create_task(self.api.informers.run()), asyncio.create_task(self.enforcer.run())]
        async with asyncio.timeout(10):
            await self.enforcer.ready.wait()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.enforcer.remove()
        self.threads.shutdown()

    def put_pod(self, name: str, **labels: str) -> None:
        namespace, _, short = name.partition("/")
        pod = self.pods[name]
        ports = [{"name": "web", "containerPort": 80}, {"name": "web-udp", "containerPort": 80, "protocol": "UDP"}]
        self.api.put(
            PODS,
            {
                "metadata": {"name": short, "namespace": namespace, "labels": {"pod": short, **labels}},
                "spec": {"nodeName": "node1", "containers": [{"name": "c", "ports": ports}]},
                "status": {"phase": "Running", "podIPs": [{"ip": pod.address}, {"ip": pod.address6}]},
            },
        )

    def policy(self, name: str, namespace: str = "x", **spec: Any) -> None:
        """A policy; without a `podSelector` it is about all pods of the namespace."""
        body = {"podSelector": {}, **spec}
        self.api.put(NETWORK_POLICIES, {"metadata": {"name": name, "namespace": namespace}, "spec": body})

    def cells(self) -> Iterable[Cell]:
        for source in (*NAMES, "node"):
            for target in NAMES:
                for protocol, port in PORTS:
                    yield Cell(source, target, protocol, port)

    async def reached(self, seconds: float) -> dict[bool, set[Cell]]:
        """The cells that answer, by IPv4 and (True) by IPv6; all asked at once."""
        loop, asked = asyncio.get_running_loop(), []
        for source in (*NAMES, "node"):
            targets = {}
            for cell in self.cells():
                if cell.source == source:
                    pod = self.pods[cell.target]
                    targets[cell, False] = pod.address
                    if cell.protocol == "tcp":
                        targets[cell, True] = pod.address6
            netns = "" if source == "node" else self.pods[source].netns
            asked.append(loop.run_in_executor(self.threads, probe, netns, targets, seconds))
        found = set().union(*await asyncio.gather(*asked))
        return {six: {cell for cell, by in found if by is six} for six in (False, True)}

    async def expect(self, allowed: Callable[[Cell], bool], families: tuple[bool, ...] = (False, True)) -> None:
        """Every cell is as `allowed` says, in IPv4 and (True) IPv6; the node and a pod itself always may."""
        open_cells = {c for c in self.cells() if c.source in ("node", c.target) or allowed(c)}
        wanted = {six: {c for c in open_cells if not (six and c.protocol == "udp")} for six in families}
        found: dict[bool, set[Cell]] = {}
        for seconds in (0.15, 0.4, 1.0, 2.0, 3.0):
            found = await self.reached(seconds)
            if all(found[six] == wanted[six] for six in families):
                return
        for six in families:
            closed, opened = wanted[six] - found[six], found[six] - wanted[six]
            assert (sorted(closed), sorted(opened)) == ([], []), "closed, or open, against the table"


@pytest_asyncio.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    lab = PodLab(tmp_path, dual=True)
    try:
        await lab.open()
        found = Setting(lab)
        try:
            await found.start()
            yield found
        finally:
            await found.stop()
    finally:
        await lab.close()


def namespace(pod: str) -> str:
    return pod.partition("/")[0]


def peers(*found: dict[str, Any], ports: list[dict[str, Any]] | None = None, key: str = "from") -> list[dict[str, Any]]:
    return [{key: list(found)} | ({"ports": ports} if ports else {})]


X, Y, A, B = ({"matchLabels": {k: v}} for k, v in (("ns", "x"), ("ns", "y"), ("pod", "a"), ("pod", "b")))


async def test_ingress_by_labels_namespaces_and_ports(setting: Setting) -> None:
    await setting.expect(lambda c: True)
    setting.policy("deny")
    await setting.expect(lambda c: namespace(c.target) == "y")
    setting.policy("own", ingress=peers({"podSelector": {}}))
    await setting.expect(lambda c: namespace(c.target) == "y" or namespace(c.source) == "x")
    setting.policy("own", ingress=peers({"namespaceSelector": Y, "podSelector": A}))
    await setting.expect(lambda c: namespace(c.target) == "y" or c.source == "y/a")
    # two peers: either; one peer with two selectors: both
    setting.policy("own", podSelector=A, ingress=peers({"namespaceSelector": X}, {"namespaceSelector": Y}))
    await setting.expect(lambda c: namespace(c.target) == "y" or c.target == "x/a")
    ports = [{"port": 80}, {"port": 8080, "endPort": 8090}]
    setting.policy("own", ingress=peers({"namespaceSelector": {}}, ports=ports))
    await setting.expect(lambda c: namespace(c.target) == "y" or c[2:] in (TCP, RANGE))
    setting.policy("own", ingress=[{"ports": [{"port": "web"}]}, {"ports": [{"protocol": "UDP"}]}])
    await setting.expect(lambda c: namespace(c.target) == "y" or c[2:] in (TCP, UDP))
    setting.policy("own", ingress=[{}])
    await setting.expect(lambda c: True)
    setting.api.drop(NETWORK_POLICIES, "own", "x")
    await setting.expect(lambda c: namespace(c.target) == "y")
    setting.api.drop(NETWORK_POLICIES, "deny", "x")
    await setting.expect(lambda c: True)


async def test_egress_and_both_directions(setting: Setting) -> None:
    setting.policy("out", policyTypes=["Egress"])
    await setting.expect(lambda c: namespace(c.source) == "y")
    setting.policy("out", egress=peers({"podSelector": B}, key="to"), policyTypes=["Egress"])
    await setting.expect(lambda c: namespace(c.source) == "y" or c.target == "x/b")
    setting.policy("out", podSelector=A, policyTypes=["Egress"], egress=[{"ports": [{"port": "web"}, {"port": 81}]}])
    await setting.expect(lambda c: c.source != "x/a" or c[2:] in (TCP, OTHER))
    # who may leave must still be let in
    setting.policy("in", namespace="y", ingress=peers({"podSelector": A}))
    await setting.expect(
        lambda c: (c.target[0] == "x" and (c.source != "x/a" or c[2:] in (TCP, OTHER))) or c.source == "y/a"
    )
    setting.policy("out", policyTypes=["Ingress", "Egress"])
    await setting.expect(lambda c: c.source == "y/a" and c.target[0] == "y")


async def test_blocks_of_addresses(setting: Setting) -> None:
    four, six = str(setting.lab.config.network), setting.lab.config.pod_cidr6
    spared = setting.pods["y/a"]  # and with it, by its /31, its neighbour y/b
    assert [setting.pods[f"y/{n}"].address.rpartition(".")[2] for n in "ab"] == ["4", "5"]
    blocks = [
        {"ipBlock": {"cidr": four, "except": [f"{spared.address}/32", f"{spared.address}/31"]}},
        {"ipBlock": {"cidr": six, "except": [f"{spared.address6}/128"]}},
    ]
    setting.policy("block", ingress=peers(*blocks))
    await setting.expect(lambda c: c.target[0] == "y" or c.source[0] == "x", (False,))
    await setting.expect(lambda c: c.target[0] == "y" or c.source != "y/a", (True,))
    everything = [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]
    setting.policy("block", egress=peers(*everything, key="to"), policyTypes=["Egress"])
    await setting.expect(lambda c: True)


async def test_labels_that_change_open_and_close(setting: Setting) -> None:
    chosen = {"matchLabels": {"friend": "yes"}}
    setting.policy("friends", ingress=peers({"namespaceSelector": {}, "podSelector": chosen}))
    await setting.expect(lambda c: c.target[0] == "y")
    setting.put_pod("y/b", friend="yes")
    await setting.expect(lambda c: c.target[0] == "y" or c.source == "y/b")
    setting.put_pod("y/b")
    await setting.expect(lambda c: c.target[0] == "y")
    setting.policy("friends", ingress=peers({"namespaceSelector": {"matchLabels": {"open": "yes"}}}))
    setting.api.put(NAMESPACES, {"metadata": {"name": "y", "labels": {"ns": "y", "open": "yes"}}})
    await setting.expect(lambda c: c.target[0] == "y" or c.source[0] == "y")
    setting.policy("friends", podSelector={"matchLabels": {"shut": "yes"}})
    await setting.expect(lambda c: True)
    setting.put_pod("x/a", shut="yes")
    await setting.expect(lambda c: c.target != "x/a")


async def test_what_runs_goes_on_and_a_restart_keeps_the_gates_shut(setting: Setting) -> None:
    client = setting.pods["y/a"].udp_client(setting.pods["x/a"].address, 80)
    client.send(b"?")
    assert client.recv(100)
    setting.policy("deny")
    await setting.expect(lambda c: c.target[0] == "y")
    client.send(b"?")
    assert client.recv(100)
    for task in setting.tasks:
        task.cancel()
    await asyncio.gather(*setting.tasks, return_exceptions=True)
    await setting.expect(lambda c: c.target[0] == "y")
    setting.api.informers = type(setting.api.informers)(setting.api.client)
    setting.enforcer = NetworkPolicyEnforcer(setting.config, setting.api.informers)
    setting.tasks = [asyncio.create_task(setting.api.informers.run()), asyncio.create_task(setting.enforcer.run())]
    setting.policy("more", namespace="y")
    await setting.expect(lambda c: False)


async def test_a_new_pod_passes_the_gate_only_with_its_policies(setting: Setting) -> None:
    setting.policy("deny")
    await setting.expect(lambda c: c.target[0] == "y")
    config, loop = setting.lab.config, asyncio.get_running_loop()
    order: list[str] = []

    def gate(pod: str, uid: str, addresses: tuple[str, ...]) -> None:
        order.append(pod)
        try:
            asyncio.run_coroutine_threadsafe(setting.enforcer.admit(pod, uid, addresses), loop).result(20)
        except NotEnforced as error:
            raise cni.CniError(cni.TRY_AGAIN_LATER, str(error)) from error

    setting.lab.network.gate = gate
    waiting = asyncio.create_task(setting.lab.pod("x/new", "u1"))
    async with asyncio.timeout(20):
        while not order:
            await asyncio.sleep(0.005)
    body = {"nodeName": "node1", "containers": [{"name": "c"}]}
    meta = {"name": "other", "namespace": "x", "uid": "u2"}
    setting.api.put(PODS, {"metadata": meta, "spec": body, "status": {"phase": "Pending"}})
    await setting.enforcer.admit("x/other", "u2", ("10.255.255.9",))  # whom everybody knows passes meanwhile
    assert order == ["x/new"]
    assert not waiting.done()  # nobody knows the pod yet, so nobody knows its policies
    meta = {"name": "new", "namespace": "x", "uid": "u1"}
    setting.api.put(PODS, {"metadata": meta, "spec": body, "status": {"phase": "Pending"}})
    fresh = await waiting
    fresh.serve_tcp(80, "new")  # its status does not say where it is, and yet it is shut
    assert fresh.address.startswith(config.pod_cidr.rsplit(".", 1)[0])
    knock = {(Cell("y/a", "x/new", *TCP), False): fresh.address}
    assert await asyncio.to_thread(probe, setting.pods["y/a"].netns, knock, 0.3) == set()
    assert await asyncio.to_thread(probe, "", knock, 3) == set(knock)
    setting.policy("deny", ingress=[{}])
    async with asyncio.timeout(20):
        while await asyncio.to_thread(probe, setting.pods["y/a"].netns, knock, 0.5) != set(knock):
            await asyncio.sleep(0.01)


async def test_several_new_pods_wait_at_the_gate_at_once(setting: Setting) -> None:
    setting.policy("deny")
    await setting.expect(lambda c: c.target[0] == "y")
    names = ("one", "two", "three")
    waiting = [
        asyncio.create_task(setting.enforcer.admit(f"x/{n}", n, (f"10.255.255.{i}",))) for i, n in enumerate(names)
    ]
    await asyncio.sleep(0)
    for name in names:
        meta = {"name": name, "namespace": "x", "uid": name}
        body = {"nodeName": "node1", "containers": [{"name": "c"}]}
        setting.api.put(PODS, {"metadata": meta, "spec": body, "status": {"phase": "Pending"}})
    await asyncio.gather(*waiting)


async def test_the_cluster_dns_is_meant_by_the_labels_it_has_elsewhere(setting: Setting) -> None:
    gateway = setting.lab.config.gateway
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((gateway, 0))
    port = server.getsockname()[1]
    setting.lab.keep(server)
    loop = asyncio.get_running_loop()

    async def asks() -> bool:
        client = setting.pods["x/a"].udp_client(gateway, port)
        client.setblocking(False)
        client.send(b"?")
        server.setblocking(False)
        try:
            async with asyncio.timeout(0.5):
                await loop.sock_recv(server, 10)
        except TimeoutError:
            return False
        except OSError as error:
            assert error.errno == errno.EAGAIN
            return False
        return True

    assert await asks()
    setting.policy("out", policyTypes=["Egress"])
    await setting.expect(lambda c: c.source[0] == "y")
    assert not await asks()
    labels = {"kubernetes.io/service-name": "kube-dns"}
    self_made = {"addresses": [gateway], "conditions": {"ready": True}, "nodeName": "node1"}
    setting.api.put(
        ENDPOINTSLICES,
        {
            "metadata": {"name": "kube-dns-1", "namespace": "kube-system", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "dns", "port": port, "protocol": "UDP"}],
            "endpoints": [self_made],
        },
    )
    setting.api.put(NAMESPACES, {"metadata": {"name": "kube-system", "labels": {"ns": "system"}}})
    dns = {
        "namespaceSelector": {"matchLabels": {"ns": "system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    setting.policy(
        "out", policyTypes=["Egress"], egress=peers(dns, key="to", ports=[{"port": "dns", "protocol": "UDP"}])
    )
    async with asyncio.timeout(20):
        while not await asks():
            await asyncio.sleep(0.01)
