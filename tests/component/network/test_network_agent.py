"""The agent with the kernel: real bridges, namespaces and packets, called as containerd calls it (by the forwarder)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kumo.host.network.agent import PodNetwork, install
from kumo.host.network.cni import TRY_AGAIN_LATER, CniError
from kumo.host.network.config import PodNetworkConfig
from kumo.host.network.links import Links
from kumo.host.network.namespaces import connect_in_netns, is_netns, run_in_netns
from kumo.host.nftables import Nft

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and links"),
]

FORWARDER = Path(__file__).parents[3] / "src/kumo/host/native/bin/cni"


class Namespaces:
    """Network namespaces with names of their own, as containerd makes them."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def add(self) -> str:
        name = f"kt{uuid.uuid4().hex[:10]}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._names.append(name)
        return f"/run/netns/{name}"

    def remove(self, path: str) -> None:
        name = Path(path).name
        subprocess.run(["ip", "netns", "del", name], check=True)
        self._names.remove(name)

    def close(self) -> None:
        for name in list(self._names):
            self.remove(name)


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    found = Namespaces()
    yield found
    found.close()


@pytest.fixture
def config(tmp_path: Path) -> Iterator[PodNetworkConfig]:
    ident = uuid.uuid4().hex[:6]
    # A long directory on purpose: unix sockets' addresses hold 107 bytes.
    directory = tmp_path / ("a-data-directory-with-a-long-name" * 3)
    third = int(ident[:2], 16)
    config = PodNetworkConfig(f"kt{ident}", f"10.250.{third}.0/24", f"kt-{ident}", directory)
    yield config
    PodNetwork(config).remove()


@asynccontextmanager
async def running(config: PodNetworkConfig) -> AsyncIterator[PodNetwork]:
    network = PodNetwork(config)
    task = asyncio.create_task(network.run())
    async with asyncio.timeout(10):
        while not config.socket.exists():
            assert not task.done(), task
            await asyncio.sleep(0.005)
    try:
        yield network
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def call(
    config: PodNetworkConfig,
    command: str,
    container: str,
    netns: str = "",
    *,
    ports: list[dict[str, Any]] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Run the forwarder as containerd does: the environment, and on stdin the plugin's part of the conflist."""
    install(config.directory / "bin", config.directory / "conf", FORWARDER, config)
    listed = json.loads((config.directory / "conf/10-kumo.conflist").read_text())
    stdin = {"cniVersion": listed["cniVersion"], "name": listed["name"], **listed["plugins"][0]}
    if ports:
        stdin["runtimeConfig"] = {"portMappings": ports}
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}",
        "CNI_PATH": str(config.directory / "bin"),
    }
    process = await asyncio.create_subprocess_exec(
        config.directory / "bin/kumo-cni",
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(json.dumps(stdin).encode())
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else {}


def devices(*names: str) -> list[str]:
    """Those of the names that are devices."""
    with Links() as links:
        return [name for name in names if links.find(name) is not None]


def serve(netns: str, port: int) -> socket.socket:
    """A TCP server in the namespace; the caller accepts."""
    return run_in_netns(netns, lambda: socket.create_server(("0.0.0.0", port)))


def exchange(listener: socket.socket, client: socket.socket) -> str:
    """Who the server sees as the client, and that bytes flow both ways."""
    listener.settimeout(5)
    connection, (address, *_) = listener.accept()
    with connection, client:
        client.sendall(b"ping")
        assert connection.recv(4) == b"ping"
        connection.sendall(b"pong")
        assert client.recv(4) == b"pong"
    return str(address)


async def test_a_pod_gets_an_address_and_reaches_the_node_and_other_pods(
    config: PodNetworkConfig, namespaces: Namespaces
) -> None:
    one, two = namespaces.add(), namespaces.add()
    async with running(config) as network:
        code, first = await call(config, "ADD", "sandbox-1", one)
        assert code == 0, first
        code, second = await call(config, "ADD", "sandbox-2", two)
        assert code == 0, second
        address = first["ips"][0]["address"].split("/")[0]
        other = second["ips"][0]["address"].split("/")[0]
        assert first["ips"][0]["gateway"] == config.gateway
        assert address != other
        assert (await call(config, "CHECK", "sandbox-1", one))[0] == 0
        with serve(one, 8080) as listener:
            assert exchange(listener, connect_in_netns(two, [address], 8080)) == other
            assert exchange(listener, socket.create_connection((address, 8080), timeout=5)) == config.gateway
        with socket.create_server((config.gateway, 0)) as listener:
            port = listener.getsockname()[1]
            assert exchange(listener, connect_in_netns(one, [config.gateway], port)) == address
        assert {lease.pod for lease in network.leases()} == {"default/sandbox-1", "default/sandbox-2"}
        for _ in range(2):  # DEL must succeed also when there is nothing left to delete
            assert (await call(config, "DEL", "sandbox-1", one))[0] == 0
        assert [lease.container for lease in network.leases()] == ["sandbox-2"]


async def test_pods_leave_the_node_under_its_address(config: PodNetworkConfig, namespaces: Namespaces) -> None:
    pod, outside = namespaces.add(), namespaces.add()

    def uplink() -> None:
        device = f"kx{config.bridge[2:]}"
        with Links() as links:
            links.create_veth(device, "eth0", peer_netns=outside)
            links.add_address(device, "198.18.7.1", 30)
            links.change(device, up=True)

    await asyncio.to_thread(uplink)

    def wire() -> None:
        with Links() as links:
            links.add_address("eth0", "198.18.7.2", 30)
            links.change("eth0", up=True)

    run_in_netns(outside, wire)
    async with running(config):
        assert (await call(config, "ADD", "sandbox", pod))[0] == 0
        with serve(outside, 8080) as listener:
            assert exchange(listener, connect_in_netns(pod, ["198.18.7.2"], 8080)) == "198.18.7.1"


async def test_host_ports_lead_into_the_pod_from_everywhere(config: PodNetworkConfig, namespaces: Namespaces) -> None:
    pod, other = namespaces.add(), namespaces.add()
    ports = [{"hostPort": 38080, "containerPort": 8080, "protocol": "tcp"}]
    async with running(config):
        code, found = await call(config, "ADD", "sandbox", pod, ports=ports)
        assert code == 0, found
        assert (await call(config, "ADD", "other", other))[0] == 0
        with serve(pod, 8080) as listener:
            for client in (
                socket.create_connection(("127.0.0.1", 38080), timeout=5),
                socket.create_connection((config.gateway, 38080), timeout=5),
                connect_in_netns(other, [config.gateway], 38080),
                connect_in_netns(pod, [config.gateway], 38080),
            ):
                exchange(listener, client)
        assert (await call(config, "DEL", "sandbox", pod))[0] == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 38080), timeout=5)


async def test_host_ports_of_both_families(config: PodNetworkConfig, namespaces: Namespaces) -> None:
    config = replace(config, pod_cidr6=f"fd0b:{config.bridge[2:6]}::/64")
    pod, other = namespaces.add(), namespaces.add()
    ports = [
        {"hostPort": 38081, "containerPort": 8080, "protocol": "tcp"},
        {"hostPort": 38082, "containerPort": 8080, "protocol": "tcp", "hostIP": "::"},
        {"hostPort": 38083, "containerPort": 8080, "protocol": "tcp", "hostIP": config.gateway6},
        {"hostPort": 38084, "containerPort": 8080, "protocol": "tcp", "hostIP": "0.0.0.0"},
    ]
    async with running(config):
        code, found = await call(config, "ADD", "sandbox", pod, ports=ports)
        assert code == 0, found
        assert (await call(config, "ADD", "other", other))[0] == 0

    def both() -> socket.socket:
        return socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)

    async with running(config):  # what a new agent makes of the leases is the same
        with run_in_netns(pod, both) as listener:

            def heard(address: str, port: int, netns: str = "") -> bool:
                try:
                    if netns:
                        client = connect_in_netns(netns, [address], port)
                    else:
                        client = socket.create_connection((address, port), timeout=5)
                except OSError:
                    return False
                exchange(listener, client)
                return True

            six, four = config.gateway6, config.gateway
            for port, by_six, by_four in ((38081, True, True), (38082, True, False), (38083, True, False)):
                assert [heard(six, port), heard(four, port)] == [by_six, by_four]
            assert [heard(six, 38084), heard(four, 38084)] == [False, True]
            assert heard(six, 38081, other)
            assert heard(six, 38083, pod)  # his own
        assert (await call(config, "DEL", "sandbox", pod))[0] == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((config.gateway6, 38081), timeout=5)


async def test_a_pod_that_the_gate_does_not_let_in_gets_nothing(
    config: PodNetworkConfig, namespaces: Namespaces
) -> None:
    pod = namespaces.add()
    asked: list[tuple[str, tuple[str, ...]]] = []

    def gate(name: str, uid: str, addresses: tuple[str, ...]) -> None:
        asked.append((name, addresses))
        if len(asked) == 1:
            raise CniError(TRY_AGAIN_LATER, "not yet")

    async with running(config) as network:
        network.gate = gate
        code, error = await call(config, "ADD", "sandbox", pod)
        assert (code, error["code"], error["msg"]) == (1, TRY_AGAIN_LATER, "not yet")
        assert network.leases() == []
        code, found = await call(config, "ADD", "sandbox", pod)
        assert code == 0, found
        assert asked[1] == ("default/sandbox", (found["ips"][0]["address"].split("/")[0],))
        assert network.given() == [asked[1]]


async def test_the_nodes_loopback_is_closed_to_pods(config: PodNetworkConfig, namespaces: Namespaces) -> None:
    pod = namespaces.add()
    async with running(config):
        assert (await call(config, "ADD", "sandbox", pod))[0] == 0

        def detour() -> None:
            with Links() as links:
                links.change("lo", up=False)
                links.set_route("127.0.0.0/8", device="eth0", gateway=config.gateway)

        run_in_netns(pod, detour)
        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(TimeoutError):
            connect_in_netns(pod, ["127.0.0.1"], listener.getsockname()[1], timeout=0.5)


async def test_leases_survive_a_killed_agent_and_end_with_their_namespace(
    config: PodNetworkConfig, namespaces: Namespaces
) -> None:
    one, two = namespaces.add(), namespaces.add()
    async with running(config):
        _, first = await call(config, "ADD", "sandbox-1", one)
        assert (await call(config, "ADD", "sandbox-2", two))[0] == 0
    # the agent is down: a clean error that tells the runtime to try again
    code, error = await call(config, "ADD", "sandbox-3", one)
    assert (code, error["code"]) == (1, 11)
    assert error["msg"] == "kumo's node agent is not running"
    namespaces.remove(two)

    def lose_a_lease() -> None:
        with Links() as links:
            links.create_veth("kplost0", "kplost1")
            links.change("kplost0", bridge=config.bridge)

    await asyncio.to_thread(lose_a_lease)
    async with running(config) as network:
        assert [lease.container for lease in network.leases()] == ["sandbox-1"]
        assert await asyncio.to_thread(devices, "kplost0", network.leases()[0].device) == [network.leases()[0].device]
        assert (await call(config, "CHECK", "sandbox-1", one))[0] == 0
        _, again = await call(config, "ADD", "sandbox-1", one)
        assert again["ips"] == first["ips"]
        gone = await asyncio.to_thread(network.abandon, {"sandbox-1"})
        assert [lease.container for lease in gone] == ["sandbox-1"]
        assert network.leases() == []


async def test_ten_pods_at_once(config: PodNetworkConfig, namespaces: Namespaces) -> None:
    paths = [namespaces.add() for _ in range(10)]
    async with running(config):
        found = await asyncio.gather(*(call(config, "ADD", f"sandbox-{i}", path) for i, path in enumerate(paths)))
        assert [code for code, _ in found] == [0] * 10
        assert len({answer["ips"][0]["address"] for _, answer in found}) == 10


async def test_remove_leaves_nothing(config: PodNetworkConfig, namespaces: Namespaces) -> None:
    pod = namespaces.add()
    async with running(config) as network:
        assert (await call(config, "ADD", "sandbox", pod))[0] == 0
        device = network.leases()[0].device
    for _ in range(2):
        await asyncio.to_thread(network.remove)
    assert await asyncio.to_thread(devices, config.bridge, device) == []
    assert Nft().tables(config.table) == []
    assert not config.leases.exists()


async def test_the_forwarder_is_the_loopback_plugin_too(config: PodNetworkConfig, namespaces: Namespaces) -> None:
    pod = namespaces.add()
    install(config.directory / "bin", config.directory / "conf", FORWARDER, config)
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "x", "CNI_NETNS": pod, "CNI_IFNAME": "lo"}
    done = subprocess.run(
        [config.directory / "bin/loopback"],
        env=environment,
        input=b'{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}',
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["ips"][0]["address"] == "127.0.0.1/8"
    with serve(pod, 8080) as listener:
        assert exchange(listener, connect_in_netns(pod, ["127.0.0.1"], 8080)) == "127.0.0.1"


def test_a_leftover_file_is_no_namespace(tmp_path: Path, namespaces: Namespaces) -> None:
    path = tmp_path / "cni-1234"
    path.touch()
    assert not is_netns(path)
    assert not is_netns(tmp_path / "none")
    assert is_netns(namespaces.add())
