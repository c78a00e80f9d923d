"""The machine is shut down: a real bus, a logind of the tests' own, and pods that end in their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.conditions import find
from kumo.api.resources import EVENTS, NODES
from kumo.kubernetes.kubelet.shutdown.logind import Logind, LogindError
from kumo.kubernetes.kubelet.shutdown.manager import ShutdownManager
from kumo.kubernetes.kubelet.shutdown.record import ShutdownRecord
from support.kubelet import NODE, Node, phase_is, running, running_node
from support.logind import Machine, running_logind

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]
_MESSAGE = "Pod was terminated in response to imminent node shutdown."
_PERIODS = ((0, 20), (2_000_000_000, 10))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Machine]:
    async with running_logind(tmp_path_factory.mktemp("logind")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    bus = {"system_bus": machine.address, "logind_override": machine.override}
    async with running_node(tmp_path_factory.mktemp("node"), shutdown=_PERIODS, **bus) as found:
        async with asyncio.timeout(60):
            await found.kubelet.node.registered.wait()
            await found.kubelet.shutdown.watching.wait()
        yield found


async def until_node_says(node: Node, *, shutdown: bool) -> None:
    async with asyncio.timeout(60):
        while True:
            found = find((await node.api.client.get(NODES, NODE))["status"]["conditions"], "Ready")
            if found is not None and (found["message"] == "node is shutting down") == shutdown:
                assert not shutdown or (found["status"], found["reason"]) == ("False", "KubeletNotReady")
                return
            await asyncio.sleep(0.05)


async def test_pods_end_in_their_turn_and_the_node_says_so(node: Node, machine: Machine) -> None:
    assert machine.manager.asked[-1] == (
        "shutdown",
        "kubelet",
        "Kubelet needs time to handle node shutdown",
        "delay",
    )
    assert machine.override.read_text() == "# Kubelet logind override\n[Login]\nInhibitDelayMaxSec=30\n"
    assert machine.systemd.killed == [("systemd-logind.service", "all", 1)]
    # Each writes when it was told to end; the critical one outlives the other.
    slow = "trap 'sleep 1; echo over; exit 0' TERM; sleep 1000 & wait"
    await node.create("plain", "sh", "-c", slow, terminationGracePeriodSeconds=30)
    await node.create(
        "critical", "sh", "-c", "trap 'exit 3' TERM; sleep 1000 & wait", priorityClassName="system-cluster-critical"
    )
    await node.create("done", "true", restartPolicy="Never")
    await node.until("plain", running)
    await node.until("critical", running)
    await node.until("done", phase_is("Succeeded"))
    lock = len(machine.manager.locks) - 1
    assert not machine.is_free(lock)
    await machine.say(coming=True)
    await until_node_says(node, shutdown=True)
    plain = await node.until("plain", phase_is("Failed"), timeout=60)
    critical = await node.until("critical", phase_is("Failed"), timeout=60)
    for pod in (plain, critical):
        status = pod["status"]
        assert (status["reason"], status["message"]) == ("Terminated", _MESSAGE)
        target = find(status["conditions"], "DisruptionTarget")
        assert target is not None
        assert (target["status"], target["reason"], target["message"]) == ("True", "TerminationByKubelet", _MESSAGE)
    ended = [p["status"]["containerStatuses"][0]["state"]["terminated"] for p in (plain, critical)]
    assert [e["exitCode"] for e in ended] == [0, 3]
    assert ended[0]["finishedAt"] <= ended[1]["finishedAt"]
    assert (await node.get("done"))["status"]["phase"] == "Succeeded"
    await machine.released(lock)
    await node.create("late", "true")
    late = await node.until("late", phase_is("Failed"))
    assert late["status"]["reason"] == "NodeShutdown"
    assert late["status"]["message"] == "Pod was rejected: Pod was rejected as the node is shutting down."
    # It does not come after all.
    await machine.say(coming=False)
    await machine.locks(lock + 2)
    await until_node_says(node, shutdown=False)
    await node.create("after")
    await node.until("after", running)
    assert not machine.is_free()
    found = await node.api.client.list(EVENTS, "default", field_selector=f"involvedObject.name={NODE}")
    said = {e["message"] for e in found.items if e["reason"] == "NodeShutdown"}
    assert said == {"Shutdown manager detected shutdown event", "Shutdown manager detected shutdown cancellation"}
    for name in ("plain", "critical", "done", "late", "after"):
        await node.remove(name)


async def test_a_stranger_can_not_end_the_pods(node: Node, machine: Machine) -> None:
    await machine.pretend(coming=True)
    await machine.pretend(coming=True)
    await node.create("calm")
    await node.until("calm", running)
    assert not node.kubelet.shutdown.is_shutting_down
    await node.remove("calm")


async def test_a_bus_that_was_restarted_is_found_again(node: Node, machine: Machine) -> None:
    count = len(machine.manager.locks)
    await machine.stop()
    await machine.start()
    await machine.locks(count + 1)
    async with asyncio.timeout(60):
        await node.kubelet.shutdown.watching.wait()
    assert not machine.is_free()


class Worker:
    """A pod that ends when it is told to, or never."""

    def __init__(self, name: str, priority: int, *, obeys: bool) -> None:
        self.uid = name
        self.pod = {"metadata": {"name": name, "uid": name}, "spec": {"priority": priority, "containers": []}}
        self.over = asyncio.Event()
        self.graces: list[float | None] = []
        self._obeys = obeys

    def end(self, cause: Any, *, event: str = "") -> None:
        assert not event
        self.graces.append(cause.grace)
        if self._obeys:
            self.over.set()


async def test_who_does_not_end_does_not_hold_up_the_machine(machine: Machine, tmp_path: Path) -> None:
    figures: list[tuple[str, float]] = []
    workers = [Worker("stubborn", 0, obeys=False), Worker("good", 100, obeys=True), Worker("late", 5000, obeys=True)]
    flushed: list[str] = []

    async def flush(pod: Any) -> None:
        flushed.append(pod["metadata"]["name"])
        await asyncio.sleep(60)  # nobody answers

    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    manager = ShutdownManager(
        ((0, 1), (1000, 2)),
        lambda: workers,
        nothing,
        nothing,
        flush,
        lambda: Logind.connect(machine.address, machine.override),
        ShutdownRecord(tmp_path, lambda name, value: figures.append((name, value))),
    )
    count = len(machine.manager.locks)
    task = asyncio.create_task(manager.run())
    try:
        await machine.locks(count + 1)
        async with asyncio.timeout(60):
            await manager.watching.wait()
        await machine.say(coming=True)
        await machine.released(count, timeout=30)
        assert [w.graces for w in workers] == [[1.0], [1.0], [2.0]]
        assert sorted(flushed) == ["good", "late"]
        assert [name.removeprefix("kubelet_graceful_shutdown_") for name, _ in figures] == [
            "start_time_seconds",
            "end_time_seconds",
            "end_time_seconds",
        ]
        assert 0 == figures[1][1] < figures[0][1] <= figures[2][1]
        before, figures[:] = list(figures), []
        ShutdownRecord(tmp_path, lambda name, value: figures.append((name, value))).load()
        assert dict(figures).keys() == dict(before).keys()
        assert abs(dict(figures)[before[0][0]] - before[0][1]) <= 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_without_a_bus_or_a_logind_nothing_is_delayed(tmp_path: Path) -> None:
    with pytest.raises(LogindError, match="there is no D-Bus at unix:path="):
        await Logind.connect(f"unix:path={tmp_path / 'none'}", tmp_path / "file")
    for address in ("nonsense", "tcp:host=127.0.0.1", "unix:abstract=/kumo-nobody"):
        with pytest.raises(LogindError, match="can't connect to D-Bus"):
            await Logind.connect(address, tmp_path / "file")
    async with running_logind(tmp_path / "m") as machine:
        await machine.forget_logind()
        with pytest.raises(LogindError, match="can't connect to D-Bus"):
            await Logind.connect(machine.address, machine.override)
    assert not machine.override.exists()
