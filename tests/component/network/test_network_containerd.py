"""The pod network as containerd uses it: sandboxes with our plugin, the agent killed and back."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from pathlib import Path

import pytest

from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.host.network.agent import PodNetwork, install
from kumo.host.network.config import PodNetworkConfig
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
