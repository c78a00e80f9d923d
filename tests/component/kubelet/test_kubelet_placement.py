"""Processors of their own for real containers, told by /proc and the pod resources API; the others share the rest."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from kumo.api.objects import Object
from kumo.kubernetes.kubelet.placement import cpuset
from kumo.kubernetes.kubelet.placement.options import PlacementSettings
from kumo.kubernetes.kubelet.placement.state import CPU_FILE
from support.device_plugin import DevicePlugin, until
from support.kubelet import Node, phase_is, running, running_node
from support.pod_resources import ask

pytestmark = [
    pytest.mark.component,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif((os.cpu_count() or 1) < 3, reason="needs three processors"),
]
THING = "example.com/thing"
ALL = frozenset(range(os.cpu_count() or 1))
TELL = "trap 'exit 0' TERM; while :; do grep Cpus_allowed_list /proc/self/status; sleep 0.1; done"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    settings = PlacementSettings(
        cpu_policy="static", reserved_cpus=frozenset({0}), reserved_milli=1000, topology_policy="single-numa-node"
    )
    async with running_node(tmp_path_factory.mktemp("node"), placement=settings) as found:
        yield found


def amounts(cpu: str, **more: str) -> dict[str, Any]:
    wanted = {"cpu": cpu, "memory": "32Mi", **more}
    return {"container": {"resources": {"limits": wanted, "requests": wanted}}}


def cpus_of(node: Node, pod: Object) -> frozenset[int]:
    """The processors that the pod's container was last allowed."""
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    files = sorted(node.config.logs_directory.glob(f"default_{name}_{uid}/main/*.log"))
    lines = files[-1].read_text().splitlines() if files else []
    return cpuset.parse(lines[-1].split()[-1]) if lines else frozenset()


async def test_container_has_its_processors_and_the_others_share_the_rest(node: Node, tmp_path: Path) -> None:
    plugin = DevicePlugin(THING, node.config.directory / "device-plugins", tmp_path, "a", "b")
    plugin.places = {"a": [0]}
    async with plugin.running():
        await until(lambda: node.kubelet.devices.ledger.healthy.get(THING))
        await node.create("shared", "sh", "-c", TELL)
        shared = await node.until("shared", running, 60)
        await until(lambda: cpus_of(node, shared) == ALL)
        await node.create("own", "sh", "-c", TELL, **amounts("1", **{THING: "1"}))
        own = await node.until("own", running, 60)
        await until(lambda: len(cpus_of(node, own)) == 1)
        mine = cpus_of(node, own)
        assert not mine & {0}
        await until(lambda: cpus_of(node, shared) == ALL - mine)

        found = {p.name: p for p in (await ask(node.config.directory, "List")).pod_resources}
        assert list(found["own"].containers[0].cpu_ids) == sorted(mine)
        device = found["own"].containers[0].devices[0]
        assert (device.resource_name, list(device.device_ids)) == (THING, ["a"])
        assert [n.ID for n in device.topology.nodes] == [0]
        assert not found["shared"].containers[0].cpu_ids
        every = await ask(node.config.directory, "GetAllocatableResources")
        assert list(every.cpu_ids) == sorted(ALL - {0})
        assert sorted(d.device_ids[0] for d in every.devices) == ["a", "b"]
        one = await ask(node.config.directory, "Get", pod_name="own", pod_namespace="default")
        assert one.pod_resources == found["own"]
        old = {p.name: p for p in (await ask(node.config.directory, "List", "v1alpha1")).pod_resources}
        assert not old["own"].containers[0].cpu_ids and old["own"].containers[0].devices[0].device_ids == ["a"]

        await node.stop()
        await node.start()
        await node.create("late", "sh", "-c", TELL)
        late = await node.until("late", running, 60)
        await until(lambda: cpus_of(node, late) == ALL - mine)
        assert cpus_of(node, own) == mine
        await node.remove("own")
        await until(lambda: cpus_of(node, late) == ALL and cpus_of(node, shared) == ALL)
        assert json.loads((node.config.directory / CPU_FILE).read_text()).get("entries") is None
        await node.remove("shared")
        await node.remove("late")


async def test_pod_that_has_too_few_processors_is_refused(node: Node) -> None:
    await node.create("much", **amounts(str(len(ALL))))
    pod = await node.until("much", phase_is("Failed"), 60)
    text = "Resources cannot be allocated with Topology locality"
    assert (pod["status"]["reason"], pod["status"]["message"]) == ("TopologyAffinityError", f"Pod was rejected: {text}")
    assert await node.until_event("much", "TopologyAffinityError") == text


async def test_pod_resources_of_nobody_and_too_many_questions(node: Node) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask(node.config.directory, "Get", pod_name="nobody", pod_namespace="default")
    assert (error.value.code(), error.value.details()) == (
        grpc.StatusCode.UNKNOWN,
        "pod nobody in namespace default not found",
    )
    node.kubelet.pod_resources._bucket._tokens = -1000.0  # a thousand others have just asked
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask(node.config.directory, "List")
    assert (error.value.code(), error.value.details()) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "rejected by rate limit",
    )


async def test_kubelet_refuses_another_policy_than_the_file_has(node: Node) -> None:
    await node.stop()
    before = node.config
    try:
        node.config = type(before)(
            **{f: getattr(before, f) for f in before.__slots__} | {"placement": PlacementSettings()}
        )
        with pytest.raises(ValueError, match='configured policy "none" differs from state checkpoint policy "static"'):
            await node.start()
    finally:
        node.config = before
        await node.start()
