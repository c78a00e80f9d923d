"""Pods through a real API server, a real kubelet and a real containerd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.kubelet import Node, phase_is, running, running_node, status_of

from kumo.api import conditions

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node")) as found:
        yield found


async def test_a_pod_runs_and_says_so(node: Node) -> None:
    await node.create("simple")
    pod = await node.until("simple", running)
    status = pod["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }
    assert status["hostIP"] == "127.0.0.1"
    assert status["podIP"] == "127.0.0.1"
    assert status["qosClass"] == "BestEffort"
    container = status_of(pod)
    assert container["started"] is True
    assert container["restartCount"] == 0
    assert container["containerID"].startswith("containerd://")
    await node.remove("simple")
