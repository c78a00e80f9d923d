"""Writes that race: exactly one wins, nobody is told of what did not happen, and everybody sees the same order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CONFIGMAPS
from kumo.store.base import Unavailable
from kumo.store.sqlite import SqliteStore
from support.api_load import ApiLoad
from support.apiserver import RunningApiServer, running_apiserver
from support.history import History

pytestmark = pytest.mark.component


def _outcomes(found: list[object]) -> tuple[int, set[str]]:
    """How many succeeded, and the reasons of the others."""
    refused = {f.reason for f in found if isinstance(f, StatusError)}
    assert not [f for f in found if isinstance(f, BaseException) and not isinstance(f, StatusError)]
    return sum(not isinstance(f, BaseException) for f in found), refused


async def test_one_create_of_many_wins(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        creates = (server.client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, "default") for _ in range(30))
        assert _outcomes(list(await asyncio.gather(*creates, return_exceptions=True))) == (1, {"AlreadyExists"})


async def test_one_update_from_each_version_wins(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        obj = await server.client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, "default")
        updates = (server.client.update(CONFIGMAPS, {**obj, "data": {"n": str(n)}}) for n in range(30))
        assert _outcomes(list(await asyncio.gather(*updates, return_exceptions=True))) == (1, {"Conflict"})


async def test_patches_without_a_version_all_count(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        await server.client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, "default")
        patches = [{"data": {f"k{n}": "v"}} for n in range(10)]
        await asyncio.gather(*(server.client.patch(CONFIGMAPS, "a", p, "default") for p in patches))
        assert len((await server.client.get(CONFIGMAPS, "a", "default"))["data"]) == 10


async def test_finalizers_that_go_at_once_end_the_object_once(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        client = server.client
        names = [f"example.com/{n}" for n in range(6)]
        made = await client.create(CONFIGMAPS, {"metadata": {"name": "a", "finalizers": names}}, "default")
        await client.delete(CONFIGMAPS, "a", "default")

        async def let_go(name: str) -> None:
            while True:
                obj = await client.get(CONFIGMAPS, "a", "default")
                kept = [f for f in obj["metadata"]["finalizers"] if f != name]
                try:
                    await client.update(CONFIGMAPS, {**obj, "metadata": {**obj["metadata"], "finalizers": kept}})
                except StatusError as error:
                    if error.reason != "Conflict":
                        raise
                else:
                    return

        await asyncio.gather(*map(let_go, names))
        with pytest.raises(StatusError) as gone:
            await client.get(CONFIGMAPS, "a", "default")
        assert gone.value.code == 404
        events = client.watch(CONFIGMAPS, "default", resource_version=made["metadata"]["resourceVersion"])
        seen: list[str] = []
        async with asyncio.timeout(5), aclosing(events):
            async for event in events:
                seen.append(event.type)
                if event.type == "DELETED":
                    break
        assert seen == ["MODIFIED"] * 6 + ["DELETED"]


async def test_updates_and_deletes_that_cross(tmp_path: Path) -> None:
    """Whatever comes first, an object that was deleted is gone, and its watchers see one history."""
    async with running_apiserver(tmp_path) as server:
        client = server.client

        async def churn(number: int) -> None:
            name = f"c{number % 4}"
            try:
                if number % 3 == 0:
                    await client.create(CONFIGMAPS, {"metadata": {"name": name}}, "default")
                elif number % 3 == 1:
                    await client.patch(CONFIGMAPS, name, {"data": {"n": str(number)}}, "default")
                else:
                    await client.delete(CONFIGMAPS, name, "default")
            except StatusError as error:
                assert error.code in (404, 409), error

        start = (await client.list(CONFIGMAPS, "default")).resource_version
        await asyncio.gather(*(churn(n) for n in range(300)))
        final = await client.list(CONFIGMAPS, "default")
        await client.create(CONFIGMAPS, {"metadata": {"name": "last"}}, "default")
        alive: dict[str, str] = {}
        revision = int(start)
        events = client.watch(CONFIGMAPS, "default", resource_version=start)
        async with asyncio.timeout(5), aclosing(events):
            async for event in events:
                meta = event.object["metadata"]
                if meta["name"] == "last":
                    break
                assert int(meta["resourceVersion"]) > revision
                revision = int(meta["resourceVersion"])
                assert (event.type == "ADDED") == (meta["name"] not in alive)
                alive[meta["name"]] = meta["uid"]
                if event.type == "DELETED":
                    del alive[meta["name"]]
        assert alive == {o["metadata"]["name"]: o["metadata"]["uid"] for o in final.items}


async def test_writers_readers_and_watches_tell_one_history(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        async with ApiLoad([server.client, server.client], History(), writers=16) as load:
            await load.progress(1000)
        await load.check()


async def _write_until_cancelled(server: RunningApiServer, number: int) -> None:
    for turn in range(100):
        await server.client.create(CONFIGMAPS, {"metadata": {"name": f"x{number}-{turn}"}}, "default")


async def test_cancelled_writers_leave_nothing_half_done(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        tasks = [asyncio.create_task(_write_until_cancelled(server, n)) for n in range(20)]
        await asyncio.wait(tasks, timeout=0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5):
            await server.client.create(CONFIGMAPS, {"metadata": {"name": "after"}}, "default")
        listed = await server.client.list(CONFIGMAPS, "default")
        stored = await server.server._store.range("/registry/core/configmaps/default/")
        assert {o["metadata"]["name"] for o in listed.items} == {kv.key.rpartition("/")[2] for kv in stored.kvs}


async def test_the_cache_outlives_a_store_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's watch ends with an error: writes must not wait for ever for a cache that follows no more."""
    failures = 2
    original = SqliteStore.watch

    async def failing(self: SqliteStore, prefix: str, after: int, **how: bool):  # type: ignore[no-untyped-def]
        nonlocal failures
        async for batch in original(self, prefix, after, **how):
            if failures:
                failures -= 1
                raise Unavailable("the disk can't be read")
            yield batch

    monkeypatch.setattr(SqliteStore, "watch", failing)
    monkeypatch.setattr("kumo.kubernetes.apiserver.cache._RETRY", 0.01)
    async with asyncio.timeout(10), running_apiserver(tmp_path) as server:
        await server.client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, "default")
        assert failures == 0
