"""The pod network as containerd uses it: sandboxes with our plugin, the agent killed and back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from kumo.cli import orphans
from kumo.cli.abandoned import Abandoned
from kumo.host import mounts
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.host.network.agent import PodNetwork, install
from kumo.host.network.config import PodNetworkConfig
from kumo.host.network.links import Links
from kumo.host.nftables import Nft
from support.containerd import BUSYBOX, Instance, running_containerd

pytestmark = [pytest.mark.component, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containerd")]

FORWARDER = Path(__file__).parents[3] / "src/kumo/host/native/bin/cni"


def sandbox_config(node: Instance, name: str) -> cri.PodSandboxConfig:
    logs = node.directory / "logs" / name
    logs.mkdir(parents=True, exist_ok=True)
    options = cri.NamespaceOption(network=0, pid=1)
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="default"),
        hostname=name,
        log_directory=str(logs),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=f"{node.cgroup}/{name}",
            security_context=cri.LinuxSandboxSecurityContext(namespace_options=options),
        ),
    )


async def address_of(node: Instance, sandbox: str) -> str:
    return str((await node.engine.runtime.sandbox_status(sandbox)).status.network.ip)


async def shell(node: Instance, sandbox: str, pod: cri.PodSandboxConfig) -> str:
    options = cri.NamespaceOption(network=0, pid=1)
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="main"),
        image=cri.ImageSpec(image=BUSYBOX),
        command=["sleep", "1000"],
        log_path="main.log",
        linux=cri.LinuxContainerConfig(security_context=cri.LinuxContainerSecurityContext(namespace_options=options)),
    )
    container = await node.engine.runtime.create_container(sandbox, config, pod)
    await node.engine.runtime.start_container(container)
    return str(container)


async def until_listening(config: PodNetworkConfig, task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(10):
        while not config.socket.exists():
            assert not task.done(), task
            await asyncio.sleep(0.005)


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_sandboxes_get_addresses_reach_each_other_and_outlive_the_agent(tmp_path: Path) -> None:
    ident = uuid.uuid4().hex[:6]
    config = PodNetworkConfig(f"kt{ident}", f"10.251.{int(ident[:2], 16)}.0/24", f"kt-{ident}", tmp_path / "network")
    install(tmp_path / "bin", tmp_path / "conf", FORWARDER, config)
    network = PodNetwork(config)
    task = asyncio.create_task(network.run())
    try:
        await until_listening(config, task)
        async with running_containerd(cni=(tmp_path / "conf", tmp_path / "bin")) as node:
            runtime = node.engine.runtime
            pods = [sandbox_config(node, f"pod-{i}") for i in range(3)]
            began = time.perf_counter()
            one, two = [await runtime.run_sandbox(pod) for pod in pods[:2]]
            print(f"two sandboxes in {time.perf_counter() - began:.2f} s")
            addresses = [await address_of(node, sandbox) for sandbox in (one, two)]
            assert {lease.address for lease in network.leases()} == set(addresses)
            assert {lease.pod for lease in network.leases()} == {"default/pod-0", "default/pod-1"}
            container = await shell(node, one, pods[0])
            ping = ["ping", "-c", "1", "-W", "2", addresses[1]]
            assert (await runtime.exec_sync(container, ping, 10)).exit_code == 0

            await stopped(task)
            with pytest.raises(EngineError, match="node agent is not running"):
                await runtime.run_sandbox(pods[2])
            assert (await runtime.exec_sync(container, ping, 10)).exit_code == 0  # the living notice nothing

            network = PodNetwork(config)
            task = asyncio.create_task(network.run())
            await until_listening(config, task)
            assert {lease.address for lease in network.leases()} == set(addresses)
            pods[2].metadata.attempt = 1  # as the kubelet does: containerd keeps the failed one until it is removed
            three = await runtime.run_sandbox(pods[2])
            assert await address_of(node, three) not in addresses
            for sandbox in (one, two, three):
                await runtime.stop_sandbox(sandbox)
                await runtime.remove_sandbox(sandbox)
            assert network.leases() == []
    finally:
        await stopped(task)
        await asyncio.to_thread(PodNetwork(config).remove)


async def test_what_killed_processes_left_of_networks_is_found(tmp_path: Path) -> None:
    ident = uuid.uuid4().hex[:6]
    config = PodNetworkConfig(f"kt{ident}", f"10.251.{int(ident[:2], 16)}.0/24", f"kt-{ident}", tmp_path / "network")
    install(tmp_path / "bin", tmp_path / "conf", FORWARDER, config)
    network = PodNetwork(config)
    tasks = [asyncio.create_task(network.run())]
    try:
        await until_listening(config, tasks[0])
        async with running_containerd(cni=(tmp_path / "conf", tmp_path / "bin")) as node:
            runtime = node.engine.runtime
            pod = sandbox_config(node, "pod-0")
            sandbox = await runtime.run_sandbox(pod)
            container = await shell(node, sandbox, pod)
            state = node.directory / "c" / "state"
            (living,) = state.glob("*/netns/*")
            assert Path(network.leases()[0].netns).name == living.name

            # A sandbox that was killed while it was made: namespace, address, device and host port, and nobody's.
            lost, bare = (living.with_name(f"cni-{ident}-{n}") for n in ("lost", "bare"))
            for path in (lost, bare):
                await asyncio.to_thread(make_namespace, path)
            asked = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "nobodys", "CNI_NETNS": str(lost), "CNI_IFNAME": "eth0"}
            ports = {"portMappings": [{"hostPort": 18555, "containerPort": 80, "protocol": "tcp"}]}
            text = json.dumps({"cniVersion": "1.0.0", "name": "kumo", "type": "kumo-cni", "runtimeConfig": ports})
            lines = "\n".join(f"{k}={v}" for k, v in asked.items())
            assert (await asyncio.to_thread(network.answer, f"{lines}\n\n{text}".encode())).startswith(b"0")
            assert {lease.container for lease in network.leases()} == {sandbox, "nobodys"}
            device = next(lease.device for lease in network.leases() if lease.container == "nobodys")

            shim, bundle = await asyncio.to_thread(lost_shim, node.directory / "c", f"lost{ident}")

            left = Abandoned(network, node.engine, node.directory / "c", between=0.2)
            tasks.append(asyncio.create_task(left.run()))
            async with asyncio.timeout(30):
                while not left.rounds:
                    await asyncio.sleep(0.02)
            assert await asyncio.to_thread(shim.wait, 30) == -signal.SIGKILL and not bundle.exists()
            assert [orphans.named(words) for _, words in orphans.shims(node.directory / "c")] == [sandbox]
            assert [lease.container for lease in network.leases()] == [sandbox]
            assert list(state.glob("*/netns/*")) == [living]

            def devices() -> list[str]:
                with Links() as links:
                    return [link.name for link in links.all()]

            assert device not in await asyncio.to_thread(devices)
            assert "18555" not in str(await asyncio.to_thread(Nft().list_table, "ip", config.table))
            assert (
                await runtime.exec_sync(container, ["ping", "-c", "1", "-W", "2", config.gateway], 10)
            ).exit_code == 0
            await runtime.stop_sandbox(sandbox)
            await runtime.remove_sandbox(sandbox)
            assert network.leases() == [] and not list(state.glob("*/netns/*"))
    finally:
        for task in tasks:
            await stopped(task)
        await asyncio.to_thread(PodNetwork(config).remove)


def lost_shim(directory: Path, name: str) -> tuple[subprocess.Popen[bytes], Path]:
    """What to everybody is a shim of a pod that nobody knows, as a killed containerd leaves it; and its bundle."""
    bundle = directory / "state" / "io.containerd.runtime.v2.task" / "k8s.io" / name
    (bundle / "rootfs").mkdir(parents=True)
    mounts.mount("tmpfs", bundle / "rootfs", "tmpfs")
    words = ["-namespace", "k8s.io", "-id", name, "-address", str(directory / "c.sock")]
    argv = ["containerd-shim-runc-v2", "-c", "import time; time.sleep(600)", *words]
    return subprocess.Popen(argv, executable=sys.executable), bundle


def make_namespace(path: Path) -> None:
    """A network namespace that is kept by a mount at the path, as containerd makes them."""
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
