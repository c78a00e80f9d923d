"""What the etcd engine promises beyond the contract: members that die or fall silent, TLS, quotas, several servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from kumo.machinery import tls
from kumo.store.base import Corrupted, Denied, NoSpace, OutcomeUnknown, TooLarge, Unavailable
from kumo.store.etcd.engine import EtcdStore
from support.etcd import EtcdCluster
from support.history import History
from support.store_load import Load

pytestmark = pytest.mark.component


@pytest.fixture
async def stores(etcd: EtcdCluster) -> AsyncIterator[list[EtcdStore]]:
    """Three stores over the same data, as three API servers have them, each with another member first."""
    address = etcd.fresh()
    order = address.endpoints
    made = [EtcdStore(replace(address, endpoints=order[n:] + order[:n]), patience=3.0) for n in range(3)]
    for store in made:
        await store.start()
    yield made
    for store in made:
        await store.stop()


async def test_several_stores_share_one_history(stores: list[EtcdStore]) -> None:
    async with Load(stores, History(), writers=12) as load:
        await load.progress(400)
    await load.check()


async def test_leaders_are_killed_and_fall_silent(etcd: EtcdCluster, stores: list[EtcdStore]) -> None:
    """Twice a new leader has to be found; nothing acknowledged is lost, and watches go on where they were."""
    async with Load(stores, History()) as load:
        await load.progress(50)
        etcd.kill(await asyncio.to_thread(etcd.leader))
        await load.progress(50)
        etcd.revive()
        await load.progress(50)
        etcd.pause(await asyncio.to_thread(etcd.leader))
        await load.progress(50)
    await load.check()


async def test_without_a_quorum_everything_is_refused_and_watches_go_on_after(
    etcd: EtcdCluster, stores: list[EtcdStore]
) -> None:
    store = stores[0]
    async with Load(stores, History(), writers=4) as load:
        await load.progress(50)
        etcd.pause(1)
        etcd.kill(2)
        with pytest.raises(Unavailable, match=r"does not answer.*has no leader"):
            await store.current_revision()
        with pytest.raises(Unavailable):
            await store.put("/q", b"1")
        etcd.revive()
        await load.progress(50)
    await load.check()


async def test_an_idle_watch_leaves_a_member_that_fell_silent(etcd: EtcdCluster) -> None:
    address = etcd.fresh()
    follower = next(m for m in range(3) if m != etcd.leader())
    first = f"127.0.0.1:{etcd.client_ports[follower]}"
    watching = EtcdStore(replace(address, endpoints=(first, *(e for e in address.endpoints if e != first))), ping=1.0)
    writing = EtcdStore(replace(address, endpoints=tuple(e for e in address.endpoints if e != first)))
    await watching.start()
    await writing.start()
    try:
        watch = watching.watch("/", await watching.current_revision())
        pending = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.1)
        etcd.pause(follower)
        await writing.put("/a", b"1")
        async with asyncio.timeout(15):
            assert [e.kv.key for e in await pending] == ["/a"]
        await watch.aclose()
    finally:
        await watching.stop()
        await writing.stop()


async def test_a_watch_passes_writes_of_strangers(etcd: EtcdCluster, stores: list[EtcdStore]) -> None:
    """Somebody else's writes raise etcd's revision: a watch with progress hears of it once asked to."""
    store = stores[0]
    watch = store.watch("/", await store.current_revision(), progress=True)
    pending = asyncio.ensure_future(anext(watch))
    await asyncio.to_thread(etcd.ctl, "put", "/stranger", "1")
    wanted = await store.current_revision()
    await store.advance()
    async with asyncio.timeout(5):
        (event,) = await pending
    assert event.type == "progress" and event.kv.mod_revision >= wanted
    await watch.aclose()


async def test_watches_see_none_of_the_engines_own_keys(stores: list[EtcdStore]) -> None:
    store = stores[0]
    start = await store.current_revision()
    await store.advance()
    await store.put("/a", b"1")
    events = [e async for e in _until(store.watch("/", start, progress=True), "/a")]
    assert [(e.type, e.kv.key) for e in events if e.type != "progress"] == [("put", "/a")]
    assert [kv.key for kv in (await store.range("/")).kvs] == ["/a"]


async def _until(watch: AsyncIterator[list], key: str) -> AsyncIterator:  # type: ignore[type-arg]
    async with asyncio.timeout(5):
        async for batch in watch:
            for event in batch:
                yield event
            if batch[-1].kv.key == key:
                return


async def test_a_value_too_large_is_refused(stores: list[EtcdStore]) -> None:
    with pytest.raises(TooLarge, match=r"1.5 MiB"):
        await stores[0].put("/large", bytes(2 << 20))
    await stores[0].put("/large", bytes(1 << 20))


@pytest.mark.parametrize("fault", ["other-ca", "no-certificate", "plain", "nobody"])
async def test_who_cannot_connect_is_told_why(etcd: EtcdCluster, tmp_path: Path, fault: str) -> None:
    address = etcd.fresh()
    if fault == "other-ca":
        address = replace(address, ca=tls.ensure_ca(tmp_path).files.cert)
        expected = "not issued by the CA given with --store-ca"
    elif fault == "no-certificate":
        address, expected = replace(address, cert=None, key=None), "--store-cert"
    elif fault == "plain":
        address, expected = replace(address, ca=None, cert=None, key=None), "speaks TLS: give --store-ca"
    else:
        address, expected = replace(address, endpoints=("127.0.0.1:1",)), "nothing listens there"
    store = EtcdStore(address, patience=1.0)
    with pytest.raises(Unavailable, match=expected):
        await store.start()
    with pytest.raises(Unavailable, match="stopped"):
        await store.put("/a", b"1")


async def test_a_ca_that_cannot_be_read(etcd: EtcdCluster, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"missing.crt.*No such file"):
        await EtcdStore(replace(etcd.fresh(), ca=tmp_path / "missing.crt")).start()


@pytest.mark.parametrize(("value", "finding"), [("nonsense", "can't be understood"), ('{"format":9}', "newer version")])
async def test_data_that_is_not_ours(etcd: EtcdCluster, value: str, finding: str) -> None:
    address = etcd.fresh()
    await asyncio.to_thread(etcd.ctl, "put", f"{address.prefix}.store/meta", value)
    with pytest.raises((Corrupted, Unavailable), match=finding):
        await EtcdStore(address).start()


async def test_quota_and_users() -> None:
    """A cluster of one with a small quota, which refuses writes when it is full; then with users, which we are not."""
    cluster = EtcdCluster(1, secure=False, flags=("--quota-backend-bytes", str(1 << 20)))
    store = EtcdStore(cluster.address())
    try:
        cluster.start()
        await store.start()
        kept = await store.put("/a", b"1")
        with pytest.raises(NoSpace, match=r"quota.*etcdctl alarm disarm"):
            for number in range(100):
                await store.put("/fill", bytes([number]) * 100_000)
        with pytest.raises(NoSpace):
            await store.put("/a", b"2", expect=kept)
        found = await store.get("/a")
        assert found is not None and found.value == b"1"
        await store.delete("/fill")
        await store.compact(await store.current_revision())
        for command in (("defrag",), ("alarm", "disarm")):
            await asyncio.to_thread(cluster.ctl, *command)
        assert await store.put("/a", b"2", expect=kept) > kept
        for command in (("user", "add", "root:root"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
            await asyncio.to_thread(cluster.ctl, *command)
        with pytest.raises(Denied, match="refuses us"):
            await store.put("/a", b"3")
        with pytest.raises(Denied):
            await EtcdStore(cluster.address()).start()
    finally:
        await store.stop()
        await asyncio.to_thread(cluster.stop)


async def test_a_write_whose_answer_is_lost_is_not_repeated(etcd: EtcdCluster) -> None:
    """The only member we know falls silent during a write: it may have been made, and we say so."""
    leader = await asyncio.to_thread(etcd.leader)
    store = EtcdStore(replace(etcd.fresh(), endpoints=(f"127.0.0.1:{etcd.client_ports[leader]}",)), patience=1.5)
    await store.start()
    try:
        await store.put("/a", b"1")
        etcd.pause(leader)
        with pytest.raises(OutcomeUnknown, match="is not known"):
            await store.put("/a", b"2")
        etcd.resume(leader)
        async with asyncio.timeout(10):
            found = await store.get("/a")
        assert found is not None and found.value in (b"1", b"2")
    finally:
        await store.stop()
