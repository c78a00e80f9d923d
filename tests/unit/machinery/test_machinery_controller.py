"""The shell around a reconcile function, and the recorder of events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from kumo.api.errors import StatusError, modified
from kumo.api.objects import Key
from kumo.api.resources import CONFIGMAPS, EVENTS, PODS, REPLICASETS
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import WARNING, EventRecorder
from support.objects import MemoryApi

pytestmark = pytest.mark.unit


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


class Running:
    """A controller over objects in memory, run for the time of a test."""

    def __init__(self, *resources: tuple[object, str]) -> None:
        self.api = MemoryApi(*resources)  # type: ignore[arg-type]

    async def __aenter__(self) -> Running:
        self._tasks: list[asyncio.Task[None]] = [asyncio.create_task(self.api.informers.run())]
        return self

    def start(self, controller: Controller) -> None:
        self._tasks.append(asyncio.create_task(controller.run()))

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def config(name: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}, "data": {}}


async def test_every_change_is_reconciled() -> None:
    async with Running((CONFIGMAPS, "ConfigMap")) as running:
        done: list[Key] = []

        async def reconcile(key: Key) -> None:
            done.append(key)

        controller = Controller("test", reconcile)
        controller.watch(running.api.informers.informer(CONFIGMAPS))
        running.api.put(CONFIGMAPS, config("a"))
        running.start(controller)
        await until(lambda: done == [Key("ns", "a")])
        running.api.put(CONFIGMAPS, config("b"))
        await until(lambda: Key("ns", "b") in done)


async def test_failures_are_retried_and_temporary_ones_wait() -> None:
    async with Running((CONFIGMAPS, "ConfigMap")) as running:
        script: list[object] = [
            modified("", "configmaps", "a"),
            ConnectionError("gone"),
            RuntimeError("a bug"),
            Temporary("not yet", 0.01),
            0.01,
            None,
        ]
        played: list[object] = []

        async def reconcile(_: Key) -> float | None:
            step = script[len(played)]
            played.append(step)
            if isinstance(step, Exception):
                raise step
            return step  # type: ignore[return-value]

        controller = Controller("test", reconcile, workers=1)
        controller.watch(running.api.informers.informer(CONFIGMAPS))
        running.api.put(CONFIGMAPS, config("a"))
        running.start(controller)
        await until(lambda: len(played) == len(script))


async def test_owners_are_queued_for_what_they_own() -> None:
    async with Running((PODS, "Pod"), (REPLICASETS, "ReplicaSet")) as running:
        done: list[Key] = []

        async def reconcile(key: Key) -> None:
            done.append(key)

        controller = Controller("test", reconcile)
        controller.watch_owned(running.api.informers.informer(PODS), "ReplicaSet")
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "1", "controller": True}
        for name, owner in (("mine", reference), ("other", {**reference, "kind": "Job"}), ("free", None)):
            meta = {"name": name, "namespace": "ns"} | ({"ownerReferences": [owner]} if owner else {})
            running.api.put(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta})
        running.start(controller)
        await until(lambda: done == [Key("ns", "rs")])


async def test_events_are_written_and_counted() -> None:
    api = MemoryApi((EVENTS, "Event"))
    recorder = EventRecorder(api.client, "tester", "node1")
    about = config("a")
    about["metadata"]["uid"] = "u1"
    patched: list[object] = []
    original = api.client.patch

    async def patch(*arguments: object, **options: object) -> object:
        patched.append(arguments)
        if len(patched) == 2:  # It has expired.
            await api.client.delete(EVENTS, str(arguments[1]), "ns")
            raise StatusError(404, "NotFound", "gone")
        return await original(*arguments, **options) if hasattr(api, "patch") else {}  # type: ignore[arg-type]

    api.client.patch = patch  # type: ignore[method-assign, assignment]
    for _ in range(3):
        recorder.event(about, WARNING, "Broken", "it broke", field_path="spec.x")
    await until(lambda: len(patched) == 2)

    async def stored() -> list:
        return (await api.client.list(EVENTS)).items

    async with asyncio.timeout(5):
        while not any(event["count"] == 3 for event in await stored()):
            await asyncio.sleep(0.001)
    first = (await stored())[0]
    assert first["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "a",
        "namespace": "ns",
        "uid": "u1",
        "fieldPath": "spec.x",
    }
    assert (first["reason"], first["message"], first["type"]) == ("Broken", "it broke", "Warning")
    assert first["source"] == {"component": "tester", "host": "node1"}
    assert first["metadata"]["namespace"] == "ns"
    assert recorder._task is not None
    recorder._task.cancel()
    await asyncio.gather(recorder._task, return_exceptions=True)


async def test_a_key_whose_work_was_cancelled_is_worked_on_by_the_next_run() -> None:
    """As when a component fails beside the controller, and both are begun again."""
    async with Running((CONFIGMAPS, "ConfigMap")) as running:
        begun, done = asyncio.Event(), asyncio.Event()

        async def reconcile(_: Key) -> None:
            if not begun.is_set():
                begun.set()
                await asyncio.Event().wait()
            done.set()

        controller = Controller("test", reconcile)
        controller.watch(running.api.informers.informer(CONFIGMAPS))
        running.api.put(CONFIGMAPS, config("a"))
        first = asyncio.create_task(controller.run())
        async with asyncio.timeout(60):
            await begun.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            running.start(controller)
            await done.wait()
