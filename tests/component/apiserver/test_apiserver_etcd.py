"""Several API servers on one etcd: each shows at once what another has written, and all tell the same history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CONFIGMAPS, NAMESPACES, SERVICES
from kumo.kubernetes.apiserver.addresses.objects import ADDRESSES as IPADDRESSES
from kumo.kubernetes.apiserver.compaction import KEY, compact_regularly
from kumo.store.base import Compacted
from kumo.store.etcd.engine import EtcdStore
from support.api_load import ApiLoad
from support.apiserver import RunningApiServer, running_apiserver
from support.etcd import EtcdCluster
from support.history import History

pytestmark = pytest.mark.component


@pytest.fixture
async def servers(etcd: EtcdCluster, tmp_path: Path) -> AsyncIterator[list[RunningApiServer]]:
    """Two servers with the same keys on the same data, each with another member of etcd first."""
    address = etcd.fresh()
    async with AsyncExitStack() as stack:
        made = []
        for number in range(2):
            order = address.endpoints[number:] + address.endpoints[:number]
            store = EtcdStore(replace(address, endpoints=order), patience=3.0)
            made.append(await stack.enter_async_context(running_apiserver(tmp_path, store=store)))
        yield made


async def test_what_one_writes_the_other_reads_at_once(servers: list[RunningApiServer]) -> None:
    one, other = (server.client for server in servers)
    for number in range(50):
        name = f"c{number}"
        made = await one.create(CONFIGMAPS, {"metadata": {"name": name}, "data": {"n": "1"}}, "default")
        assert (await other.get(CONFIGMAPS, name, "default"))["metadata"]["uid"] == made["metadata"]["uid"]
        changed = await other.patch(CONFIGMAPS, name, {"data": {"n": "2"}}, "default")
        assert (await one.list(CONFIGMAPS, "default", field_selector=f"metadata.name={name}")).items[0]["data"] == {
            "n": "2"
        }
        assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
        await one.delete(CONFIGMAPS, name, "default")
        with pytest.raises(StatusError) as gone:
            await other.get(CONFIGMAPS, name, "default")
        assert gone.value.code == 404


async def test_a_namespace_made_at_one_can_be_used_at_the_other(servers: list[RunningApiServer]) -> None:
    one, other = (server.client for server in servers)
    for number in range(10):
        await one.create(NAMESPACES, {"metadata": {"name": f"n{number}"}})
        await other.create(CONFIGMAPS, {"metadata": {"name": "a"}}, f"n{number}")


async def test_writers_readers_and_watches_at_both(servers: list[RunningApiServer]) -> None:
    async with ApiLoad([server.client for server in servers], History(), writers=10) as load:
        await load.progress(500)
    await load.check()


async def test_servers_never_give_two_services_the_same(etcd: EtcdCluster, tmp_path: Path) -> None:
    """A range of a few node ports, and two servers that give them out at once."""
    address = etcd.fresh()
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            server = running_apiserver(tmp_path, store=EtcdStore(address), node_port_range=(30000, 30011))
            clients.append((await stack.enter_async_context(server)).client)

        async def make(number: int) -> None:
            service = {
                "metadata": {"name": f"s{number}"},
                "spec": {"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}},
            }
            while True:
                try:
                    await clients[number % 2].create(SERVICES, service, "default")
                    return
                except StatusError as error:
                    assert error.code == 503, error

        async with asyncio.timeout(20):
            await asyncio.gather(*(make(number) for number in range(10)))
        found = (await clients[0].list(SERVICES, "default")).items
        ports = [p["nodePort"] for s in found for p in s["spec"]["ports"] if "nodePort" in p]
        addresses = [s["spec"]["clusterIP"] for s in found]
        assert len(ports) == len(set(ports)) == 10
        assert len(addresses) == len(set(addresses))
        objects = (await clients[1].list(IPADDRESSES)).items
        assert {o["metadata"]["name"] for o in objects} == set(addresses)
        # What a deleted service held can be had again at once, also under another name.
        held = found[-1]["spec"]["clusterIP"]
        await clients[0].delete(SERVICES, found[-1]["metadata"]["name"], "default")
        again = {"metadata": {"name": "again"}, "spec": {"clusterIP": held, "ports": [{"port": 80}]}}
        await clients[1].create(SERVICES, again, "default")


async def test_a_member_of_etcd_dies_under_them(etcd: EtcdCluster, servers: list[RunningApiServer]) -> None:
    async with ApiLoad([server.client for server in servers], History()) as load:
        await load.progress(50)
        etcd.kill(await asyncio.to_thread(etcd.leader))
        await load.progress(100)
    await load.check()


async def test_reads_do_not_wait_for_writes_of_strangers(etcd: EtcdCluster, servers: list[RunningApiServer]) -> None:
    """Somebody else who uses the same etcd raises its revision, and our watch is told of nothing."""
    client = servers[0].client
    await client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, "default")
    await asyncio.to_thread(etcd.ctl, "put", "/stranger", "1")
    async with asyncio.timeout(2):
        await asyncio.gather(*(client.get(CONFIGMAPS, "a", "default") for _ in range(20)))


async def test_without_a_quorum_only_the_cache_answers(etcd: EtcdCluster, servers: list[RunningApiServer]) -> None:
    client = servers[0].client
    await client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, "default")
    etcd.pause(1)
    etcd.pause(2)
    stale = await client.list(CONFIGMAPS, "default", resource_version="0")
    assert "a" in {o["metadata"]["name"] for o in stale.items}
    with pytest.raises(StatusError) as refused:
        await client.get(CONFIGMAPS, "a", "default")
    assert refused.value.code == 503 and "no leader" in refused.value.message
    with pytest.raises(StatusError) as unwritten:
        await client.create(CONFIGMAPS, {"metadata": {"name": "b"}}, "default")
    assert unwritten.value.code == 503
    etcd.revive()
    async with asyncio.timeout(15):
        while True:
            try:
                await client.get(CONFIGMAPS, "a", "default")
                break
            except StatusError as error:
                assert error.code == 503
    await client.create(CONFIGMAPS, {"metadata": {"name": "b"}}, "default")


async def test_an_object_too_large_for_etcd(servers: list[RunningApiServer]) -> None:
    large = {"metadata": {"name": "large"}, "data": {"v": "x" * 1_700_000}}
    with pytest.raises(StatusError) as refused:
        await servers[0].client.create(CONFIGMAPS, large, "default")
    assert refused.value.code in (413, 422), refused.value.message


async def test_one_of_several_servers_compacts(etcd: EtcdCluster) -> None:
    address = etcd.fresh()
    stores = [EtcdStore(address) for _ in range(3)]
    for store in stores:
        await store.start()
    counts = []

    def counting(store: EtcdStore) -> EtcdStore:
        original = store.compact

        async def compact(revision: int) -> None:
            counts.append(revision)
            await original(revision)

        store.compact = compact  # type: ignore[method-assign]
        return store

    tasks = [asyncio.create_task(compact_regularly(counting(store), 0.4)) for store in stores]
    try:
        first = await stores[0].put("/a", b"1")
        async with asyncio.timeout(10):
            while len(counts) < 3:
                await asyncio.sleep(0.05)
                await stores[0].put("/a", b"2")
        assert counts == sorted(set(counts)), "the same was compacted twice"
        with pytest.raises(Compacted):
            await stores[1].get("/a", revision=first)
        kept = await stores[2].get(KEY)
        assert kept is not None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for store in stores:
            await store.stop()
