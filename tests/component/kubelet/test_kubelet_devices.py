"""Device plugins on a real node: real containers get devices; plugins and kubelets come, go and come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import NODES
from kumo.kubernetes.kubelet.devices.checkpoint import FILE
from support.device_plugin import DevicePlugin, until
from support.kubelet import NODE, Node, phase_is, pod_object, running, running_node, status_of

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]
THING, OTHER = "example.com/thing", "example.com/other"
LOOK = "ls -l /dev/$GIVEN | cut -c1; cat /opt/driver/driver; touch /opt/driver/x 2>/dev/null || echo read-only; "
WAIT = "trap 'exit 0' TERM; sleep 1000 & wait"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "driver").write_text("the driver\n")
    return folder


def folder(node: Node) -> Path:
    return node.config.directory / "device-plugins"


def wants(count: int, resource: str = THING) -> dict[str, Any]:
    return {"container": {"resources": {"limits": {resource: str(count)}, "requests": {resource: str(count)}}}}


async def offers(node: Node, capacity: str, allocatable: str, resource: str = THING) -> None:
    """Return once the Node says so."""
    found: Object = {}

    async def look() -> bool:
        nonlocal found
        try:
            found = (await node.api.client.get(NODES, NODE)).get("status") or {}
        except StatusError:  # a quick plugin is there before the Node is
            return False
        if "capacity" not in found:
            return False
        return (found["capacity"].get(resource), found["allocatable"].get(resource)) == (capacity, allocatable)

    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.03)


def log_of(node: Node, pod: Object) -> str:
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    files = sorted(node.config.logs_directory.glob(f"default_{name}_{uid}/main/*.log"))
    return "\n".join(line.split(" ", 3)[3] for f in files for line in f.read_text().splitlines())


async def test_device_plugin_gives_a_container_what_it_says(node: Node, shared: Path) -> None:
    plugin = DevicePlugin(
        THING, folder(node), shared, "a", "b", "c", pre_start_required=True, get_preferred_allocation_available=True
    )
    plugin.prefers = ["b"]
    async with plugin.running():
        await offers(node, "3", "3")
        await node.create("one", "sh", "-c", LOOK + WAIT, **wants(1))
        pod = await node.until("one", running, 60)
        await until(lambda: "read-only" in log_of(node, pod))
        assert log_of(node, pod).split("\n")[:3] == ["c", "the driver", "read-only"]
        assert plugin.calls == [
            ("GetPreferredAllocation", ["a", "b", "c"]),
            ("Allocate", ["b"]),
            ("PreStartContainer", ["b"]),
        ]
        health = [{"name": THING, "resources": [{"resourceID": "b", "health": "Healthy"}]}]
        assert status_of(pod)["allocatedResourcesStatus"] == health

        await plugin.set(a=True, b=False, c=False)
        await offers(node, "3", "1")
        sick = [{"name": THING, "resources": [{"resourceID": "b", "health": "Unhealthy"}]}]
        await node.until("one", lambda p: status_of(p)["allocatedResourcesStatus"] == sick, 60)

        await node.create("more", **wants(2))
        pod = await node.until("more", phase_is("Failed"), 60)
        text = f"requested number of devices unavailable for {THING}. Requested: 2, Available: 1"
        assert pod["status"]["reason"] == "UnexpectedAdmissionError"
        assert pod["status"]["message"] == f"Pod was rejected: Allocate failed due to {text}, which is unexpected"
        message = await node.until_event("more", "UnexpectedAdmissionError")
        assert message == f"Allocate failed due to {text}, which is unexpected"

        plugin.refusal = "it burns"
        await node.create("burns", **wants(1))
        pod = await node.until("burns", phase_is("Failed"), 60)
        assert "due to rpc error: code = Internal desc = it burns, which" in pod["status"]["message"]
        plugin.refusal = ""

        await node.remove("one")
        await plugin.set(b=True)
        await offers(node, "1", "1")
        await node.create("again", **wants(1))
        await node.until("again", running, 60)
        await node.remove("again")
    await offers(node, "1", "0")
    await node.create("late", **wants(1))
    pod = await node.until("late", phase_is("Failed"), 60)
    assert f"no healthy devices present; cannot allocate unhealthy devices {THING}" in pod["status"]["message"]


async def test_device_plugin_and_containers_outlive_a_kubelet(node: Node, shared: Path) -> None:
    plugin = DevicePlugin(THING, folder(node), shared, "a", "b")
    async with plugin.running():
        await offers(node, "2", "2")
        await node.create("stays", "sh", "-c", LOOK + "sleep 1; [ -e /opt/driver/end ] && exit 1; " + WAIT, **wants(1))
        before = await node.until("stays", running, 60)
        content = json.loads((folder(node) / FILE).read_text())
        assert [e["DeviceIDs"] for e in content["Data"]["PodDeviceEntries"]] == [{"-1": ["a"]}]
        await node.stop()
        await node.start()
        await until(lambda: plugin.registrations == 2)
        await offers(node, "2", "2")
        await node.create("second", **wants(1))
        await node.until("second", running, 60)
        assert plugin.of("Allocate") == [["a"], ["b"]], "the first container's device is still its own"
        await node.create("third", **wants(1))
        pod = await node.until("third", phase_is("Failed"), 60)
        assert pod["status"]["reason"] == "UnexpectedAdmissionError"
        after = await node.get("stays")
        assert status_of(after)["containerID"] == status_of(before)["containerID"]
        await node.remove("second")
        # A container that is started again has what it had, without another question.
        (shared / "end").touch()
        box = status_of(after)["containerID"].partition("//")[2]
        await node.containerd.engine.runtime.stop_container(box, 1)
        (shared / "end").unlink()
        await node.until("stays", lambda p: status_of(p)["restartCount"] == 1 and running(p), 60)
        assert plugin.of("Allocate") == [["a"], ["b"]]
    # Nobody knows whether a container that does not run can still have its device.
    await offers(node, "2", "0")
    await node.stop()
    await node.containerd.engine.runtime.stop_container(
        status_of(await node.get("stays"))["containerID"].partition("//")[2], 1
    )
    await node.start()
    pod = await node.until("stays", phase_is("Failed"), 60)
    assert pod["status"]["reason"] == "UnexpectedAdmissionError"
    await node.remove("stays")


async def test_device_plugin_is_refused_or_found_in_the_registry(node: Node, shared: Path) -> None:
    plugin = DevicePlugin(OTHER, folder(node), shared, "x")
    plugin.version = "v1alpha1"
    async with plugin.serving():
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await plugin.register()
        text = 'requested API version "v1alpha1" is not supported by kubelet. Supported version is ["v1beta1"]'
        assert error.value.details() == text
        plugin.version, plugin.resource = "v1beta1", "cpu"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await plugin.register()
        assert error.value.details() == 'the ResourceName "cpu" is invalid'
    plugin.resource = OTHER
    async with plugin.in_registry(node.config.directory / "plugins_registry"):
        await offers(node, "1", "1", OTHER)
        pod = pod_object("heir", **wants(1, OTHER))
        pod["spec"]["initContainers"] = [{**pod["spec"]["containers"][0], "name": "first", "command": ["true"]}]
        await node.create_pod(pod)
        await node.until("heir", running, 60)
        assert plugin.of("Allocate") == [["x"], ["x"]], "what an init container had, the next one may have"
        assert plugin.of("told") == [[""]]
        await node.remove("heir")
    await offers(node, "1", "0", OTHER)
