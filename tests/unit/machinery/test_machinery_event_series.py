"""Events of events.k8s.io: their form, and when a repetition is written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kumo.machinery import event_series
from kumo.machinery.event_series import SeriesRecorder
from kumo.machinery.events import NORMAL, WARNING

pytestmark = pytest.mark.unit
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7"},
}


class Server:
    """Takes what a client writes."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Any]] = []

    async def create(self, gvr: Any, body: Any) -> None:
        self.written.append(("create", body))

    async def patch(self, gvr: Any, name: str, patch: Any, namespace: str) -> None:
        self.written.append((f"patch {namespace}/{name}", patch))


def recorder_of(server: Server) -> SeriesRecorder:
    return SeriesRecorder(server, "default-scheduler", "host")  # type: ignore[arg-type]


async def written(server: Server, count: int) -> list[tuple[str, Any]]:
    async with asyncio.timeout(10):
        while len(server.written) < count:
            await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    return server.written


async def test_event_series_has_the_form_of_the_newer_group() -> None:
    server = Server()
    recorder_of(server).event(POD, NORMAL, "Scheduled", "Binding", "x" * 2000, controller="mine")
    ((verb, body),) = await written(server, 1)
    assert verb == "create" and body["metadata"]["namespace"] == "ns" and body["metadata"]["name"].startswith("p.")
    assert (body["reportingController"], body["reportingInstance"]) == ("mine", "mine-host")
    assert (body["type"], body["reason"], body["action"]) == ("Normal", "Scheduled", "Binding")
    assert len(body["note"]) == 1024 and body["note"].endswith("x ...")
    assert body["regarding"]["uid"] == "u" and "related" not in body and "series" not in body


async def test_event_series_counts_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    server, now = Server(), [0.0]
    monkeypatch.setattr(event_series.time, "monotonic", lambda: now[0])
    recorder = recorder_of(server)
    for _ in range(5):
        recorder.event(POD, WARNING, "FailedScheduling", "Scheduling", "no")
    made = await written(server, 2)
    name = made[0][1]["metadata"]["name"]
    assert [verb for verb, _ in made] == ["create", f"patch ns/{name}"]
    assert made[1][1]["series"]["count"] == 2
    now[0] = 400.0
    recorder.event(POD, WARNING, "FailedScheduling", "Scheduling", "no")
    made = await written(server, 4)
    assert made[2][0] == f"patch ns/{name}" and made[2][1]["series"]["count"] == 5
    assert made[3][0] == "create"
    newer = {**POD, "metadata": {**POD["metadata"], "resourceVersion": "8"}}  # type: ignore[dict-item]
    recorder.event(newer, WARNING, "FailedScheduling", "Scheduling", "no")
    assert (await written(server, 5))[4][0] == "create", "another version of the object is another event"


async def test_event_series_that_has_ended_is_counted_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_series, "_FINISHED", 0.05)
    server = Server()
    recorder = recorder_of(server)
    for _ in range(4):
        recorder.event(POD, WARNING, "FailedScheduling", "Scheduling", "no")
    made = await written(server, 2)
    async with asyncio.timeout(10):
        while len(made) < 3:
            await asyncio.sleep(0.01)
    assert made[2][1]["series"]["count"] == 4


class Away(Server):
    """A server that can't be reached for a while."""

    def __init__(self, outages: int) -> None:
        super().__init__()
        self.left = outages
        self.asked = 0

    async def create(self, gvr: Any, body: Any) -> None:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise ConnectionError("refused")
        await super().create(gvr, body)


async def test_event_series_waits_for_a_server_that_is_away() -> None:
    server = Away(3)
    recorder = SeriesRecorder(server, "default-scheduler", "host", pause=0.0)  # type: ignore[arg-type]
    recorder.event(POD, NORMAL, "Scheduled", "Binding", "one")
    recorder.event(POD, WARNING, "FailedScheduling", "Scheduling", "two")
    made = await written(server, 2)
    assert [body["note"] for _, body in made] == ["one", "two"]
    assert server.asked == 5


async def test_event_series_gives_an_event_up_in_the_end() -> None:
    server = Away(event_series._TRIES)
    recorder = SeriesRecorder(server, "default-scheduler", "host", pause=0.0)  # type: ignore[arg-type]
    recorder.event(POD, NORMAL, "Scheduled", "Binding", "one")
    recorder.event(POD, WARNING, "FailedScheduling", "Scheduling", "two")
    made = await written(server, 1)
    assert [body["note"] for _, body in made] == ["two"]
