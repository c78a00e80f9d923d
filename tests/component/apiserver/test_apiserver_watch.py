"""Watches: from a revision, by selector, with bookmarks, and what happens at their limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS, PODS
from kumo.kubernetes.apiserver import watch_hub, watching
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path) as running:
        yield running


class Events:
    """A watch's events as they come."""

    def __init__(self, status: int, chunks: AsyncIterator[bytes]) -> None:
        self.status = status
        self._chunks = chunks
        self._rest = b""
        self._waiting: list[Object] = []

    async def next(self, timeout: float = 5.0) -> Object:
        async with asyncio.timeout(timeout):
            while not self._waiting:
                *lines, self._rest = (self._rest + await anext(self._chunks)).split(b"\n")
                self._waiting = [msgspec.json.decode(line) for line in lines if line]
        return self._waiting.pop(0)

    async def take(self, count: int) -> list[tuple[str, str]]:
        return [short(await self.next()) for _ in range(count)]

    async def ended(self) -> bool:
        try:
            await self.next()
        except StopAsyncIteration:
            return True
        return False


def short(event: Object) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"].get("name", "")


@asynccontextmanager
async def watch(server: RunningApiServer, path: str = "", **query: Any) -> AsyncIterator[Events]:
    text = "&".join(f"{k}={v}" for k, v in {"watch": "true", **query}.items())
    target = path or CONFIGMAPS.path("default")
    async with server.client.transport.stream("GET", target, query=text) as (status, chunks):
        yield Events(status, chunks)


async def put(server: RunningApiServer, name: str, **labels: str) -> Object:
    body = {"metadata": {"name": name, "labels": labels}}
    return await server.client.create(CONFIGMAPS, body, "default")


async def relabel(server: RunningApiServer, name: str, **labels: str) -> Object:
    return await server.client.patch(CONFIGMAPS, name, {"metadata": {"labels": labels}}, "default")


async def test_a_watch_goes_on_from_a_list(server: RunningApiServer) -> None:
    await put(server, "a")
    revision = (await server.client.list(CONFIGMAPS, "default")).resource_version
    changed = await relabel(server, "a", x="y")
    async with watch(server, resourceVersion=revision) as events:
        event = await events.next()
        assert short(event) == ("MODIFIED", "a") and event["object"] == changed
        await put(server, "b")
        await server.client.delete(CONFIGMAPS, "a", "default")
        assert await events.take(1) == [("ADDED", "b")]
        gone = await events.next()
        assert short(gone) == ("DELETED", "a")
        assert int(gone["object"]["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])
        assert gone["object"]["metadata"]["labels"] == {"x": "y"}


async def test_a_watch_without_revision_begins_with_what_is_there(server: RunningApiServer) -> None:
    await put(server, "a")
    await put(server, "b")
    async with watch(server) as events:
        assert await events.take(2) == [("ADDED", "a"), ("ADDED", "b")]
        await put(server, "c")
        assert await events.take(1) == [("ADDED", "c")]


async def test_initial_events_and_their_end(server: RunningApiServer) -> None:
    await put(server, "a")
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with watch(server, **query) as events:
        assert short(await events.next()) == ("ADDED", "a")
        mark = await events.next()
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    reply = await server.client.transport.request(
        "GET", CONFIGMAPS.path("default"), query="watch=true&sendInitialEvents=true"
    )
    assert reply.status == 422


async def test_objects_come_and_go_with_the_selector(server: RunningApiServer) -> None:
    await put(server, "a", color="red")
    await put(server, "b", color="blue")
    revision = (await server.client.list(CONFIGMAPS, "default")).resource_version
    async with (
        watch(server, resourceVersion=revision, labelSelector="color%3Dred") as red,
        watch(server, resourceVersion=revision, labelSelector="color%3Dred") as twin,
        watch(server, resourceVersion=revision, fieldSelector="metadata.name%3Db") as b,
    ):
        pending = [asyncio.ensure_future(w.next()) for w in (red, twin, b)]
        await asyncio.sleep(0)
        await relabel(server, "a", color="blue")
        await relabel(server, "b", color="red")
        await relabel(server, "b", color="red", more="x")
        first = [short(await p) for p in pending]
        assert first == [("DELETED", "a"), ("DELETED", "a"), ("MODIFIED", "b")]
        for events in (red, twin):
            assert await events.take(2) == [("ADDED", "b"), ("MODIFIED", "b")]
        assert await b.take(1) == [("MODIFIED", "b")]


async def test_watch_one_object_by_path(server: RunningApiServer) -> None:
    await put(server, "a")
    await put(server, "b")
    path = CONFIGMAPS.path("default")
    async with watch(server, path, fieldSelector="metadata.name%3Da") as events:
        assert await events.take(1) == [("ADDED", "a")]
        await relabel(server, "b", x="y")
        await relabel(server, "a", x="y")
        assert await events.take(1) == [("MODIFIED", "a")]


async def test_node_watch_sees_its_pods_only(server: RunningApiServer) -> None:
    async with watch(server, "/api/v1/pods", fieldSelector="spec.nodeName%3Dn1") as events:
        pending = asyncio.ensure_future(events.next())
        await asyncio.sleep(0)
        for name, node in (("other", "n2"), ("mine", "")):
            spec: Object = {"containers": [{"name": "c", "image": "busybox"}]}
            if node:
                spec["nodeName"] = node
            await server.client.create(PODS, {"metadata": {"name": name}, "spec": spec}, "default")
        binding = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "mine"}, "target": {"name": "n1"}}
        await server.client.create(PODS, binding, "default", subresource="binding", name="mine")
        async with asyncio.timeout(5):
            assert short(await pending) == ("ADDED", "mine")


async def test_a_revision_too_old(server: RunningApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_hub, "RING_EVENTS", 5)
    first = await put(server, "a")
    for i in range(10):
        await relabel(server, "a", n=str(i))
    async with watch(server, resourceVersion=first["metadata"]["resourceVersion"]) as events:
        event = await events.next()
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
        assert event["object"]["message"].startswith("too old resource version: ")
        assert await events.ended()


async def test_bookmarks_of_a_quiet_watch(server: RunningApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_INTERVAL", 0.05)
    made = await put(server, "a")
    revision = made["metadata"]["resourceVersion"]
    async with watch(server, resourceVersion=revision, allowWatchBookmarks="true") as events:
        event = await events.next()
        assert event["type"] == "BOOKMARK" and event["object"]["kind"] == "ConfigMap"
        assert int(event["object"]["metadata"]["resourceVersion"]) >= int(revision)


async def test_a_watch_ends_after_its_time(server: RunningApiServer) -> None:
    async with watch(server, timeoutSeconds=1, resourceVersion=1) as events:
        while True:
            try:
                await events.next()
            except StopAsyncIteration:
                break


async def test_a_slow_watcher_is_cut_off(server: RunningApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_hub, "WATCHER_EVENTS", 5)
    await put(server, "a")
    async with watch(server) as slow:
        assert await slow.take(1) == [("ADDED", "a")]
        pending = asyncio.ensure_future(slow.next())
        await asyncio.sleep(0)
        await relabel(server, "a", n="first")
        await pending
        for i in range(10):
            await relabel(server, "a", n=str(i))
        assert await slow.ended()
    hub = server.server._cache.of("", "configmaps").hub
    assert len(hub) == 0


async def test_table_watch(server: RunningApiServer) -> None:
    await put(server, "a")
    headers = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    path = CONFIGMAPS.path("default")
    async with server.client.transport.stream("GET", path, query="watch=true", headers=headers) as (status, chunks):
        events = Events(status, chunks)
        event = await events.next()
        assert event["type"] == "ADDED" and event["object"]["kind"] == "Table"
        assert event["object"]["rows"][0]["cells"][0] == "a"
        assert [c["name"] for c in event["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
        for name in ("b", "c"):
            await put(server, name)
            event = await events.next()
            assert event["object"]["rows"][0]["cells"][0] == name
            assert event["object"]["columnDefinitions"] is None, "only the first event says what the columns are"


async def test_watch_over_websocket(server: RunningApiServer) -> None:
    await put(server, "a")
    async with server.client.transport.websocket(CONFIGMAPS.path("default"), query="watch=true") as socket:
        message = await socket.receive()
        assert message is not None
        assert short(msgspec.json.decode(message)) == ("ADDED", "a")


async def test_many_watchers_see_the_same_in_order(server: RunningApiServer) -> None:
    revision = (await server.client.list(CONFIGMAPS, "default")).resource_version

    async def follow() -> list[int]:
        async with watch(server, resourceVersion=revision) as events:
            return [int((await events.next())["object"]["metadata"]["resourceVersion"]) for _ in range(100)]

    followers = [asyncio.create_task(follow()) for _ in range(20)]
    await asyncio.gather(*(put(server, f"c-{i}") for i in range(100)))
    results = await asyncio.gather(*followers)
    assert all(result == sorted(set(result)) and result == results[0] for result in results)


async def test_stopping_the_server_ends_watches(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server, watch(server, resourceVersion=1) as events:
        pending = asyncio.ensure_future(events.ended())
        await asyncio.sleep(0)
        await server.server._cache.stop()
        async with asyncio.timeout(5):
            await pending
