"""The store's contract, written against the abstract base: every engine must pass it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kumo.store.base import (
    Compacted,
    CompareFailed,
    Event,
    FutureRevision,
    LeaseNotFound,
    Mutation,
    Store,
    Unavailable,
)
from kumo.store.etcd.engine import EtcdStore
from kumo.store.sqlite import SqliteStore

pytestmark = pytest.mark.component

Engine = Callable[[pytest.FixtureRequest], Store]


def _sqlite(request: pytest.FixtureRequest) -> Store:
    return SqliteStore(request.getfixturevalue("tmp_path") / "db")


def _etcd(request: pytest.FixtureRequest) -> Store:
    return EtcdStore(request.getfixturevalue("etcd").fresh())


ENGINES: dict[str, Engine] = {"sqlite": _sqlite, "etcd": _etcd}


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Store:
    """An engine that has not been started, with no data."""
    return ENGINES[request.param](request)


@pytest.fixture
async def store(engine: Store) -> AsyncIterator[Store]:
    await engine.start()
    yield engine
    await engine.stop()


async def take(watch: AsyncIterator[list[Event]], count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(5):
        async for batch in watch:
            found += batch
            if len(found) >= count:
                break
    return found


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await check():
            await asyncio.sleep(0.01)


async def test_put_and_get(store: Store) -> None:
    before = await store.current_revision()
    assert await store.get("/a") is None
    first = await store.put("/a", b"1")
    second = await store.put("/a", b"2")
    assert second > first > before >= 0
    found = await store.get("/a")
    assert found is not None
    assert (found.value, found.create_revision, found.mod_revision) == (b"2", first, second)
    assert await store.current_revision() == second


async def test_get_at_an_earlier_revision(store: Store) -> None:
    first = await store.put("/a", b"1")
    await store.put("/b", b"x")
    await store.put("/a", b"2")
    gone = await store.delete("/a")
    then = await store.get("/a", revision=first)
    assert then is not None and then.value == b"1"
    before = await store.get("/a", revision=gone - 1)
    assert before is not None and before.value == b"2"
    assert await store.get("/a", revision=gone) is None
    assert await store.get("/b", revision=first) is None
    with pytest.raises(FutureRevision):
        await store.get("/a", revision=gone + 10)


async def test_create_only_if_absent(store: Store) -> None:
    revision = await store.put("/a", b"1", expect=0)
    with pytest.raises(CompareFailed) as refused:
        await store.put("/a", b"2", expect=0)
    current = refused.value.current
    assert current is not None
    assert (current.value, current.mod_revision) == (b"1", revision)
    found = await store.get("/a")
    assert found is not None and found.value == b"1"


async def test_compare_and_swap(store: Store) -> None:
    revision = await store.put("/a", b"1")
    newer = await store.put("/a", b"2", expect=revision)
    with pytest.raises(CompareFailed) as refused:
        await store.put("/a", b"3", expect=revision)
    assert refused.value.current is not None and refused.value.current.mod_revision == newer
    with pytest.raises(CompareFailed) as missing:
        await store.put("/b", b"1", expect=5)
    assert missing.value.current is None
    with pytest.raises(CompareFailed):
        await store.delete("/a", expect=revision)
    await store.delete("/a", expect=newer)
    assert await store.get("/a") is None


async def test_only_one_of_many_swaps_wins(store: Store) -> None:
    revision = await store.put("/a", b"0")
    results = await asyncio.gather(
        *(store.put("/a", str(i).encode(), expect=revision) for i in range(32)), return_exceptions=True
    )
    assert sum(isinstance(r, int) for r in results) == 1
    assert sum(isinstance(r, CompareFailed) for r in results) == 31


async def test_delete_of_nothing(store: Store) -> None:
    await store.put("/a", b"1")
    before = await store.current_revision()
    assert await store.delete("/nothing") == 0
    assert await store.current_revision() == before


async def test_a_deleted_key_starts_anew(store: Store) -> None:
    first = await store.put("/a", b"1")
    await store.delete("/a")
    again = await store.put("/a", b"2", expect=0)
    found = await store.get("/a")
    assert found is not None and found.create_revision == again > first


async def test_range_is_ordered_and_bounded(store: Store) -> None:
    for name in ("/p/b", "/p/a", "/p/c", "/q/a", "/p", "/p/a-b", "/p/a/x"):
        await store.put(name, name.encode())
    found = await store.range("/p/")
    assert [kv.key for kv in found.kvs] == ["/p/a", "/p/a-b", "/p/a/x", "/p/b", "/p/c"]
    assert not found.more
    part = await store.range("/p/", limit=2)
    assert [kv.key for kv in part.kvs] == ["/p/a", "/p/a-b"] and part.more
    rest = await store.range("/p/", limit=3, start_after="/p/a-b")
    assert [kv.key for kv in rest.kvs] == ["/p/a/x", "/p/b", "/p/c"] and not rest.more
    assert found.revision == await store.current_revision()


async def test_range_at_an_earlier_revision_is_one_snapshot(store: Store) -> None:
    for i in range(10):
        await store.put(f"/p/{i}", b"old")
    snapshot = await store.current_revision()
    for i in range(0, 10, 2):
        await store.delete(f"/p/{i}")
    for i in range(1, 10, 2):
        await store.put(f"/p/{i}", b"new")
    await store.put("/p/x", b"new")
    seen = []
    after, more = "", True
    while more:
        part = await store.range("/p/", revision=snapshot, limit=3, start_after=after)
        assert part.revision == snapshot
        seen += part.kvs
        after, more = part.kvs[-1].key, part.more
    assert [kv.key for kv in seen] == [f"/p/{i}" for i in range(10)]
    assert {kv.value for kv in seen} == {b"old"}


async def test_watch_gives_every_change_in_order(store: Store) -> None:
    start = await store.put("/p/a", b"0")
    await store.put("/p/a", b"1")
    await store.put("/q/a", b"unseen")
    await store.delete("/p/a")
    watch = store.watch("/p/", start)

    async def write() -> None:
        for i in range(50):
            await store.put(f"/p/{i}", b"x")

    task = asyncio.create_task(write())
    events = await take(watch, 52)
    await task
    assert [(e.type, e.kv.key) for e in events[:2]] == [("put", "/p/a"), ("delete", "/p/a")]
    assert events[0].previous is not None and events[0].previous.value == b"0"
    assert events[1].previous is not None and events[1].previous.value == b"1"
    assert [e.kv.key for e in events[2:]] == [f"/p/{i}" for i in range(50)]
    revisions = [e.kv.mod_revision for e in events]
    assert revisions == sorted(set(revisions)) and revisions[0] > start


async def test_watches_miss_and_repeat_nothing_under_writes(store: Store) -> None:
    start = await store.current_revision()

    async def write(worker: int) -> None:
        for i in range(40):
            key = f"/p/{(worker * 7 + i) % 11}"
            if i % 5 == 4:
                await store.delete(key)
            else:
                await store.put(key, f"{worker}-{i}".encode())

    async def follow(delay: int) -> list[int]:
        for _ in range(delay):
            await asyncio.sleep(0)
        seen: list[int] = []
        state: dict[str, bytes] = {}
        async for batch in store.watch("/p/", start):
            for event in batch:
                known = state.get(event.kv.key)
                assert (event.previous.value if event.previous else None) == known
                if event.type == "put":
                    state[event.kv.key] = event.kv.value
                else:
                    del state[event.kv.key]
                seen.append(event.kv.mod_revision)
            if "/p/end" in state:
                break
        return seen

    followers = [asyncio.create_task(follow(delay)) for delay in (0, 3, 50, 200)]
    await asyncio.gather(*(write(worker) for worker in range(8)))
    await store.put("/p/end", b"")
    async with asyncio.timeout(10):
        results = await asyncio.gather(*followers)
    whole = list(range(start + 1, await store.current_revision() + 1))
    assert all(seen == whole for seen in results)


async def test_watch_from_the_present_sees_what_comes(store: Store) -> None:
    await store.put("/p/a", b"1")
    watch = store.watch("/p/", await store.current_revision(), previous=False)
    pending = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await store.put("/p/b", b"2")
    async with asyncio.timeout(5):
        events = await pending
    assert [e.kv.key for e in events] == ["/p/b"]


async def test_compaction(store: Store) -> None:
    first = await store.put("/a", b"1")
    for i in range(300):
        await store.put("/a", str(i).encode())
    last = await store.put("/b", b"1")
    await store.compact(last - 1)
    with pytest.raises(Compacted) as refused:
        await store.get("/a", revision=first)
    assert refused.value.compact_revision == last - 1
    with pytest.raises(Compacted):
        await store.range("/", revision=first)
    with pytest.raises(Compacted):
        await anext(store.watch("/", first))
    found = await store.get("/a", revision=last - 1)
    assert found is not None and found.value == b"299"
    events = await anext(store.watch("/", last - 1))
    assert [e.kv.key for e in events] == ["/b"]
    with pytest.raises(Compacted):
        await store.compact(last - 1)
    with pytest.raises(FutureRevision):
        await store.compact(last + 100)


async def test_a_lease_takes_its_keys_with_it(store: Store) -> None:
    lease = await store.grant(60)
    await store.put("/p/a", b"1", lease=lease)
    await store.put("/p/b", b"1", lease=lease)
    await store.put("/p/b", b"2")  # Without the lease: the key no longer lives by it.
    found = await store.get("/p/a")
    assert found is not None and found.lease == lease
    assert await store.keepalive(lease) == 60
    start = await store.current_revision()
    await store.revoke(lease)
    events = await take(store.watch("/p/", start), 1)
    assert [(e.type, e.kv.key) for e in events] == [("delete", "/p/a")]
    assert await store.get("/p/b") is not None
    with pytest.raises(LeaseNotFound):
        await store.keepalive(lease)
    with pytest.raises(LeaseNotFound):
        await store.put("/p/c", b"1", lease=lease)


async def test_a_lease_expires(store: Store) -> None:
    lease = await store.grant(0.05)
    await store.put("/p/a", b"1", lease=lease)

    async def gone() -> bool:
        return await store.get("/p/a") is None

    await eventually(gone)


async def test_stop_ends_watches_and_refuses_work(engine: Store) -> None:
    await engine.start()
    watch = engine.watch("/", await engine.current_revision())
    pending = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(0)
    await engine.stop()
    async with asyncio.timeout(5):
        assert await pending is None
    with pytest.raises(Unavailable):
        await engine.put("/a", b"1")
    with pytest.raises(Unavailable):
        await engine.current_revision()


async def test_changes_together_are_all_made_or_none(store: Store) -> None:
    begun = await store.current_revision()
    first = await store.put("/a", b"1")
    revision = await store.commit(
        [Mutation("/b", b"2", 0), Mutation("/gone", None), Mutation("/a", None, first), Mutation("/c", b"3")]
    )
    b, c = await store.get("/b"), await store.get("/c")
    assert await store.get("/a") is None and b is not None and c is not None
    assert (b.value, c.value, c.mod_revision) == (b"2", b"3", revision) and first < b.mod_revision <= revision
    with pytest.raises(CompareFailed) as caught:
        await store.commit([Mutation("/d", b"4", 0), Mutation("/c", b"5", revision), Mutation("/b", b"6", 0)])
    assert (caught.value.key, caught.value.expected, caught.value.current) == ("/b", 0, b)
    with pytest.raises(CompareFailed) as caught:
        await store.commit([Mutation("/nothing", None, revision), Mutation("/c", b"7")])
    assert (caught.value.key, caught.value.current) == ("/nothing", None)
    assert await store.get("/d") is None and await store.get("/c") == c
    assert await store.current_revision() == revision
    told = await take(store.watch("/", begun), 4)
    assert [(event.type, event.kv.key) for event in told] == [
        ("put", "/a"), ("put", "/b"), ("delete", "/a"), ("put", "/c")
    ]  # fmt: skip


async def test_of_racing_changes_together_one_wins(store: Store) -> None:
    async def claim(name: int) -> bool:
        try:
            await store.commit([Mutation(f"/own/{name}", b"x", 0), Mutation("/shared", b"%d" % name, 0)])
        except CompareFailed as error:
            assert error.key == "/shared"
            return False
        return True

    won = await asyncio.gather(*(claim(name) for name in range(20)))
    owner = await store.get("/shared")
    assert owner is not None and [i for i, w in enumerate(won) if w] == [int(owner.value)]
    assert [kv.key for kv in (await store.range("/own/")).kvs] == [f"/own/{int(owner.value)}"]
