"""Informers over a scripted transport: lists, watches, and everything that goes wrong between them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest

from kumo.api.errors import StatusError, expired
from kumo.api.objects import Key, Object
from kumo.api.resources import CONFIGMAPS
from kumo.machinery.client import Client, Reply
from kumo.machinery.informer import Informer, Informers

pytestmark = pytest.mark.unit


def obj(name: str, revision: int, uid: str = "", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "ns", "resourceVersion": str(revision), "uid": uid or f"uid-{name}"},
        "data": data,
    }


def event(kind: str, found: Object) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


class Script:
    """A transport that plays: each list answers the next of `lists`, each watch plays the next of `watches`.

    A watch is a list of chunks; an exception in it is raised; at its end the watch ends, or waits if it is the last.
    """

    def __init__(self, lists: list[Any], watches: list[list[Any]]) -> None:
        self.lists, self.watches = lists, watches
        self.watched: list[str] = []
        self.listed = 0

    async def request(self, method: str, path: str, **_: Any) -> Reply:
        found = self.lists[min(self.listed, len(self.lists) - 1)]
        self.listed += 1
        if isinstance(found, Exception):
            raise found
        revision, items = found
        body = {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": str(revision)}}
        return Reply(200, {}, json.dumps({**body, "items": items}).encode())

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        self.watched.append(parse_qs(query)["resourceVersion"][0])
        number = len(self.watched) - 1
        if number >= len(self.watches):
            await asyncio.Event().wait()
        chunks = self.watches[number]
        if chunks and isinstance(chunks[0], StatusError):
            status = chunks[0]

            async def refusal() -> AsyncIterator[bytes]:
                yield json.dumps(status.status).encode()

            yield status.code, refusal()
            return

        async def play() -> AsyncIterator[bytes]:
            for chunk in chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk

        yield 200, play()

    def websocket(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        pass


@asynccontextmanager
async def running(script: Script, until: Callable[[Informer], bool]) -> AsyncIterator[tuple[Informer, list[str]]]:
    informer = Informer(Client(script), CONFIGMAPS)
    told: list[str] = []

    def handler(old: Object | None, new: Object | None) -> None:
        kind = "add" if old is None else "delete" if new is None else "update"
        one = new or old
        assert one is not None
        told.append(f"{kind} {one['metadata']['name']}@{one['metadata']['resourceVersion']}")

    informer.on_change(handler)
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(5):
            while not until(informer):
                await asyncio.sleep(0.001)
        yield informer, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def at(name: str, revision: int) -> Callable[[Informer], bool]:
    def reached(informer: Informer) -> bool:
        found = informer.get(name, "ns")
        return found is not None and found["metadata"]["resourceVersion"] == str(revision)

    return reached


async def test_list_then_watch() -> None:
    script = Script(
        [(5, [obj("a", 3), obj("b", 4)])],
        [[event("MODIFIED", obj("a", 6)) + event("DELETED", obj("b", 7)), event("ADDED", obj("c", 8))]],
    )
    async with running(script, at("c", 8)) as (informer, told):
        assert informer.synced
        assert told == ["add a@3", "add b@4", "update a@6", "delete b@7", "add c@8"]
        assert script.watched[0] == "5"
        assert informer.get("b", "ns") is None
        assert informer.get_key(Key("ns", "a")) is informer.get("a", "ns")


async def test_events_in_pieces_are_put_together() -> None:
    line = event("ADDED", obj("a", 6))
    script = Script([(5, [])], [[line[:7], line[7:30], line[30:]]])
    async with running(script, at("a", 6)) as (_, told):
        assert told == ["add a@6"]


async def test_a_watch_that_ends_goes_on_from_where_it_was() -> None:
    bookmark = event("BOOKMARK", {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": "40"}})
    script = Script([(5, [])], [[event("ADDED", obj("a", 6)), bookmark], [event("MODIFIED", obj("a", 41))]])
    async with running(script, at("a", 41)) as (_, told):
        assert script.watched[:2] == ["5", "40"]
        assert script.listed == 1
        assert told == ["add a@6", "update a@41"]


async def test_a_lost_connection_goes_on_from_where_it_was() -> None:
    script = Script(
        [(5, [])], [[event("ADDED", obj("a", 6)), ConnectionResetError("gone")], [event("MODIFIED", obj("a", 7))]]
    )
    async with running(script, at("a", 7)):
        assert script.watched[:2] == ["5", "6"]
        assert script.listed == 1


@pytest.mark.parametrize("how", ["status", "event"])
async def test_a_revision_too_old_lists_again_and_tells_the_difference(how: str) -> None:
    gone = expired("too old resource version: 5 (9)")
    first: list[Any] = [gone] if how == "status" else [event("ERROR", gone.status)]
    script = Script([(5, [obj("a", 3), obj("b", 4)]), (20, [obj("a", 3), obj("c", 19)])], [first])
    async with running(script, at("c", 19)) as (_, told):
        assert told == ["add a@3", "add b@4", "delete b@4", "add c@19"]


async def test_an_object_made_anew_under_its_name_is_a_deletion_and_an_addition() -> None:
    script = Script([(5, [obj("a", 3, "one")])], [[event("MODIFIED", obj("a", 6, "two"))]])
    async with running(script, at("a", 6)) as (_, told):
        assert told == ["add a@3", "delete a@3", "add a@6"]


async def test_a_server_that_is_not_there_is_asked_again() -> None:
    script = Script([ConnectionRefusedError("no"), (5, [obj("a", 3)])], [])
    async with running(script, lambda i: i.synced) as (informer, _):
        assert informer.get("a", "ns") is not None


async def test_nonsense_from_the_server_does_not_kill_the_informer() -> None:
    script = Script([(5, []), (7, [obj("a", 7)])], [[b'{"type":"ADDED","object":{}}\n']])
    async with running(script, at("a", 7)):
        assert script.listed == 2


async def test_a_handler_that_fails_does_not_stop_the_others() -> None:
    informer = Informer(Client(Script([(5, [obj("a", 3)])], [])), CONFIGMAPS)
    seen: list[Object | None] = []

    def fails(old: Object | None, new: Object | None) -> None:
        raise RuntimeError("a handler's own fault")

    informer.on_change(fails)
    informer.on_change(lambda old, new: seen.append(new))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(seen) == 1


async def test_indexes_follow_every_change() -> None:
    script = Script(
        [(5, [obj("a", 3, color="red"), obj("b", 4, color="red")])],
        [[event("MODIFIED", obj("a", 6, color="blue")), event("DELETED", obj("b", 7)), event("ADDED", obj("z", 8))]],
    )
    informer = Informer(Client(script), CONFIGMAPS)
    informer.add_index("color", lambda o: [o["data"]["color"]] if "color" in o["data"] else [])
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(5):
        while not at("z", 8)(informer):
            await asyncio.sleep(0.001)
    assert informer.by_index("color", "red") == []
    assert [o["metadata"]["name"] for o in informer.by_index("color", "blue")] == ["a"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_informers_are_shared_and_run_when_made_late() -> None:
    informers = Informers(Client(Script([(5, [obj("a", 3)])], [])))
    early = informers.informer(CONFIGMAPS)
    task = asyncio.create_task(informers.run())
    await early.wait_synced()
    assert informers.informer(CONFIGMAPS) is early
    late = informers.informer(CONFIGMAPS, namespace="other")
    assert late is not early
    async with asyncio.timeout(1):
        await late.wait_synced()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_no_reader_asks_for_is_left_out() -> None:
    def managed(found: Object) -> Object:
        return {**found, "metadata": {**found["metadata"], "managedFields": [{"manager": "someone"}]}}

    def smaller(found: Object) -> None:
        found["data"].pop("large", None)

    listed, changed = managed(obj("a", 3, large="x" * 1000, color="red")), managed(obj("b", 6, large="y", color="blue"))
    last = managed(obj("a", 7, large="z", color="green"))
    script = Script([(5, [listed])], [[event("ADDED", changed), event("DELETED", last), event("ADDED", obj("z", 8))]])
    informer = Informer(Client(script), CONFIGMAPS, trim=smaller)
    told: list[Object] = []
    informer.on_change(lambda old, new: told.append(new or old or {}))
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(5):
        while not at("z", 8)(informer):
            await asyncio.sleep(0.001)
    assert [o["data"] for o in told] == [{"color": "red"}, {"color": "blue"}, {"color": "green"}, {}]
    assert not any("managedFields" in o["metadata"] for o in told)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
