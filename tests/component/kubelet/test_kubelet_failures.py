"""A node that loses everything: every process killed at once, as a reboot does; and kumo's own pod network."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kumo.host import mounts
from kumo.host.cgroups import CgroupLimits, Cgroups
from kumo.host.containerd.engine import PAUSE
from kumo.host.network.agent import PodNetwork, install
from kumo.host.network.config import PodNetworkConfig
from support.kubelet import Node, running, running_node, status_of

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]

FORWARDER = PAUSE.parent / "cni"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """A node whose pods are on kumo's own network."""
    mark = secrets.token_hex(2)
    folder = Path(f"/var/tmp/kumo-kfn-{mark}")
    config = PodNetworkConfig(f"kfn{mark}", "10.212.66.0/24", f"kumo-kfn-{mark}", folder)
    folder.mkdir()
    network = PodNetwork(config)
    task = asyncio.create_task(network.run())
    try:
        install(folder / "bin", folder / "conf", FORWARDER, config)
        async with running_node(tmp_path_factory.mktemp("node"), cni=(folder / "conf", folder / "bin")) as found:
            yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(network.remove)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        folder.rmdir()


async def test_pods_reach_each_other_on_the_pod_network(node: Node) -> None:
    await node.create(
        "server",
        "sh",
        "-c",
        "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www",
        hostNetwork=False,
        container={"readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}},
    )
    server = await node.until("server", running)
    address = server["status"]["podIP"]
    assert address.startswith("10.212.66.")
    request = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} 80 | tail -1 > /dev/termination-log"
    await node.create("client", "sh", "-c", request, hostNetwork=False, restartPolicy="Never")
    pod = await node.until("client", lambda p: "terminated" in status_of(p)["state"])
    assert status_of(pod)["state"]["terminated"]["message"] == "hello\n"
    await node.remove("client")
    await node.remove("server")


async def test_after_a_reboot_pods_run_again(node: Node) -> None:
    await node.create("survivor", hostNetwork=False)
    await node.create("once", restartPolicy="Never", hostNetwork=False)
    before = await node.until("survivor", running)
    await node.until("once", running)
    await node.stop()
    pids = await processes_of(node)
    await node.containerd.kill()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await node.containerd.start()
    await node.start()
    after = await node.until("survivor", lambda p: running(p) and status_of(p)["restartCount"] >= 1, timeout=30)
    assert status_of(after)["containerID"] != status_of(before)["containerID"]
    gone = await node.until("once", lambda p: p["status"]["phase"] == "Failed", timeout=30)
    assert "terminated" in status_of(gone)["state"]
    await node.remove("survivor")
    await node.remove("once")


async def test_all_pods_end_with_the_node_and_run_again(node: Node) -> None:
    await node.create("resting", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done", hostNetwork=False)
    await node.until("resting", running)
    await node.stop()
    assert await node.kubelet.end_pods() == 1
    assert not [b for b in await node.containerd.engine.runtime.list_sandboxes() if b.state == 0]
    await node.start()
    await node.until("resting", lambda p: running(p) and status_of(p)["restartCount"] == 1)
    await node.remove("resting")


async def test_what_killed_pods_left_is_removed_at_start(node: Node) -> None:
    """Mounts, cgroups, directories and logs of pods that neither the API server nor containerd knows of."""
    await node.create("living", hostNetwork=False)
    living = (await node.until("living", running))["metadata"]["uid"]
    await node.stop()
    config, uid = node.config, str(uuid.uuid4())
    home = config.pods_directory / uid
    volume = home / "volumes" / "kubernetes.io~empty-dir" / "scratch"
    subpath = home / "volume-subpaths" / "data" / "main" / "0"
    volume.mkdir(parents=True)
    subpath.mkdir(parents=True)
    await asyncio.to_thread(mounts.mount, "tmpfs", volume, "tmpfs")
    (volume / "file").write_text("left")
    await asyncio.to_thread(mounts.mount, str(volume), subpath, "", mounts.MS_BIND)
    logs = config.logs_directory / f"default_gone_{uid}"
    logs.mkdir()
    (logs / "0.log").write_text("left")
    group = f"{config.cgroup_parent}/pod{uid}"
    groups = Cgroups()
    await asyncio.to_thread(groups.create, group, CgroupLimits())
    assert f"pod{uid}" in groups.groups(config.cgroup_parent)
    await node.start()
    async with asyncio.timeout(30):
        while home.exists() or logs.exists() or f"pod{uid}" in groups.groups(config.cgroup_parent):
            await asyncio.sleep(0.05)
    assert uid not in Path("/proc/self/mountinfo").read_text()
    assert (config.pods_directory / living).exists() and running(await node.get("living"))
    await node.remove("living")


async def processes_of(node: Node) -> list[int]:
    """The shims of this containerd, then all that runs below them."""
    socket = str(node.containerd.config.socket)
    shims, children = [], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
                if b"shim" in arguments[0] and any(a.decode() == socket for a in arguments):
                    shims.append(int(entry.name))
    found = list(shims)
    for pid in found:
        found += children.get(pid, [])
    return found
