"""A real node that is short of memory, pods that use more disk than they may, images that nobody uses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from kumo.api.conditions import find
from kumo.api.objects import Object
from kumo.api.resources import NODES
from kumo.host.containerd.archive import File, build_image
from kumo.kubernetes.kubelet.image_collector import ImageCollector
from support.kubelet import BUSYBOX, NODE, Node, phase_is, running, running_node

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]
_MI = 1 << 20
_ALLOCATABLE, _HOG, _SOFT = 600, 560, 300
"""MiB that all pods may have together, and that one of them takes; the threshold is 100 MiB."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    reserved = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - _ALLOCATABLE * _MI
    async with running_node(
        tmp_path_factory.mktemp("node"),
        reserved={"memory": str(reserved)},
        eviction_hard={"memory.available": "100Mi"},
        eviction_soft={"memory.available": "1Ki", "allocatableMemory.available": "350Mi"},
        eviction_soft_grace={"memory.available": "1s", "allocatableMemory.available": "1s"},
        eviction_most_grace=20.0,
        eviction_interval=0.2,
        pressure_seconds=2.0,
    ) as found:
        async with asyncio.timeout(20):
            await found.kubelet.node.registered.wait()
        yield found


async def until_pressure(node: Node, status: str, reason: str) -> None:
    async with asyncio.timeout(60):
        while True:
            found = find((await node.api.client.get(NODES, NODE))["status"]["conditions"], "MemoryPressure")
            if found is not None and (found["status"], found["reason"]) == (status, reason):
                return
            await asyncio.sleep(0.1)


def evicted(pod: Object) -> bool:
    return bool((pod.get("status") or {}).get("reason") == "Evicted")


async def test_memory_is_taken_back_from_who_uses_most_beyond_its_request(node: Node) -> None:
    modest = {"requests": {"memory": "64Mi"}}
    await node.create("modest", container={"resources": modest})
    await node.until("modest", running)
    hog = f"exec dd if=/dev/zero of=/dev/null bs={_HOG}M count=1000000"
    await node.create("hog", "sh", "-c", hog)
    pod = await node.until("hog", evicted, timeout=60)
    status = pod["status"]
    assert status["phase"] == "Failed"
    assert status["message"].startswith("The node was low on resource: memory. Threshold quantity: 100Mi, available: ")
    assert "Container main was using " in status["message"]
    assert status["message"].endswith(", request is 0, has larger consumption of memory. ")
    target = find(status["conditions"], "DisruptionTarget")
    assert target is not None
    assert (target["status"], target["reason"], target["message"]) == (
        "True",
        "TerminationByKubelet",
        status["message"],
    )
    assert await node.until_event("hog", "Evicted") == status["message"]
    await until_pressure(node, "True", "KubeletHasInsufficientMemory")
    await node.create("late", "true")
    refused = await node.until("late", evicted)
    assert refused["status"]["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
    await until_pressure(node, "False", "KubeletHasSufficientMemory")
    assert running(await node.get("modest"))
    for name in ("late", "hog", "modest"):
        await node.remove(name)


async def test_a_soft_threshold_gives_time(node: Node) -> None:
    # It is below the threshold at once, evicted after the grace, and has time to say good-bye.
    script = f"trap 'echo bye > /dev/termination-log; exit 7' TERM; dd if=/dev/zero of=/dev/shm/x bs=1M count={_SOFT};"
    shm = {"name": "shm", "emptyDir": {"medium": "Memory"}}
    await node.create(
        "slow",
        "sh",
        "-c",
        f"{script} sleep 1000 & wait; sleep 1000 & wait",
        terminationGracePeriodSeconds=30,
        volumes=[shm],
        container={"volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}]},
    )
    await until_pressure(node, "True", "KubeletHasInsufficientMemory")
    pod = await node.until("slow", evicted, timeout=60)
    assert pod["status"]["message"].startswith("The node was low on resource: memory. Threshold quantity: 350Mi, ")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (7, "bye\n")
    await node.remove("slow")
    await until_pressure(node, "False", "KubeletHasSufficientMemory")


async def _over(node: Node, name: str, message: str, script: str, **spec: object) -> None:
    await node.create(name, "sh", "-c", f"trap 'exit 0' TERM; {script}; sleep 1000 & wait", **spec)
    pod = await node.until(name, evicted, timeout=90)
    assert pod["status"]["message"] == message
    assert find(pod["status"]["conditions"], "DisruptionTarget") is None
    await node.remove(name)


async def test_an_empty_directory_has_a_limit(node: Node) -> None:
    # Written before anybody looks for the first time: sizes are looked at once a minute.
    script = "dd if=/dev/zero of=/data/x bs=1M count=3"
    mount = [{"name": "data", "mountPath": "/data"}]
    await _over(
        node,
        "much",
        'Usage of EmptyDir volume "data" exceeds the limit "1Mi". ',
        "true",
        container={"volumeMounts": mount},
        volumes=[{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}],
        initContainers=[{"name": "fill", "image": BUSYBOX, "command": ["sh", "-c", script], "volumeMounts": mount}],
    )


async def test_a_containers_layer_has_a_limit(node: Node) -> None:
    limits = {"limits": {"ephemeral-storage": "1Mi"}}
    message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
    await _over(node, "layer", message, "dd if=/dev/zero of=/x bs=1M count=3", container={"resources": limits})


async def test_images_that_nobody_uses_are_removed(node: Node) -> None:
    engine = node.containerd.engine
    names = {kind: f"registry.example/{kind}:1" for kind in ("unused", "pinned", "imported", "mounted")}
    for kind, name in names.items():
        image = build_image(files=[File(f"/{kind}", kind.encode())])
        await engine.images.import_image(image, [name], pinned=kind == "pinned", imported=kind == "imported")
    await node.create("user", "sleep", "1000")
    await node.until("user", phase_is("Running"))
    said: list[tuple[str, str]] = []
    told: Callable[[str, str], None] = lambda reason, message: said.append((reason, message))  # noqa: E731
    collector = ImageCollector(engine, lambda: [names["mounted"]], told)
    await collector.look()
    assert await collector.free_all() > 0
    left = {kind for kind, name in names.items() if await engine.images.exists(name)}
    assert left == {"pinned", "imported", "mounted"}
    assert await engine.images.exists(BUSYBOX)
    for name in names.values():
        await engine.images.remove(name)
    await node.remove("user")
    # A disk that can't be emptied enough.
    await ImageCollector(engine, list, told, high=0.0, low=0.0).look()
    assert said[-1][0] == "FreeDiskSpaceFailed"
    assert said[-1][1].startswith("Failed to garbage collect required amount of images. Attempted to free ")
