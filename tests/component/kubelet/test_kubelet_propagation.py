"""Mounts that pass from a container to its node and to other containers, as the node parts of CSI drivers need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kumo.host import mounts
from support.kubelet import Node, running, running_node

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node"), resync_seconds=0.3) as found:
        yield found


async def execute(node: Node, name: str, *command: str) -> str:
    worker = node.kubelet.find_worker("default", name)
    container = worker.state.container("main") if worker is not None else None
    assert container is not None
    answer = await node.containerd.engine.runtime.exec_sync(container.id, command, 10)
    return (answer.stdout + answer.stderr).decode()


async def test_mounts_propagate_also_below_a_link(node: Node, tmp_path: Path) -> None:
    # A published CSI driver mounts /var/lib/kubelet/pods, where /var/lib/kubelet is a link to this kubelet's folder.
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "pods").mkdir(parents=True)
    link.symlink_to(real)
    mounts.make_shared(real)
    try:
        volume = {"name": "v", "hostPath": {"path": str(link / "pods"), "type": "DirectoryOrCreate"}}
        for name, passing in (("giver", "Bidirectional"), ("taker", "HostToContainer"), ("alone", "None")):
            mount = {"name": "v", "mountPath": "/v", "mountPropagation": passing}
            security = {"privileged": passing == "Bidirectional"}
            await node.create(name, volumes=[volume], container={"volumeMounts": [mount], "securityContext": security})
            await node.until(name, running)
        made = "mkdir /v/in && mount -t tmpfs kumo-given /v/in && echo from the giver > /v/in/f"
        assert await execute(node, "giver", "sh", "-c", made) == ""
        assert (real / "pods" / "in" / "f").read_text() == "from the giver\n"
        assert await execute(node, "taker", "cat", "/v/in/f") == "from the giver\n"
        assert await execute(node, "alone", "ls", "/v/in") == ""
        for name in ("giver", "taker", "alone"):
            await node.remove(name)
    finally:
        mounts.unmount_below(real)
