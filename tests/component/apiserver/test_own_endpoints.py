"""The service `default/kubernetes`: always there, its endpoints those of the servers that are alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from kumo.kubernetes.apiserver.bootstrap.own_endpoints import PREFIX, endpoints_of, slices_of
from kumo.machinery.client import Client
from kumo.store.base import Unavailable
from kumo.store.etcd.engine import EtcdStore
from support.apiserver import running_apiserver
from support.etcd import EtcdCluster

pytestmark = pytest.mark.component


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(15):
        while True:
            try:
                if value := await found():
                    return value
            except StatusError as error:
                assert error.code == 404
            await asyncio.sleep(0.02)


async def addresses(client: Client) -> list[str]:
    """Those that the Endpoints name, which the slices do, too."""
    found = await client.get(ENDPOINTS, "kubernetes", "default")
    named = [a["ip"] for subset in found["subsets"] for a in subset["addresses"]]
    slices = (
        await client.list(ENDPOINTSLICES, "default", label_selector="kubernetes.io/service-name=kubernetes")
    ).items
    pieces = [a for piece in slices for endpoint in piece["endpoints"] for a in endpoint["addresses"]]
    return named if sorted(named) == sorted(pieces) else []


async def test_what_somebody_deletes_is_made_again(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        client = server.client
        before = await client.get(SERVICES, "kubernetes", "default")
        await client.delete(SERVICES, "kubernetes", "default")
        await client.delete(ENDPOINTS, "kubernetes", "default")
        await client.delete(ENDPOINTSLICES, "kubernetes", "default")

        async def back() -> bool:
            found = await client.get(SERVICES, "kubernetes", "default")
            return bool(found["metadata"]["uid"] != before["metadata"]["uid"] and await addresses(client))

        await until(back)
        assert (await client.get(SERVICES, "kubernetes", "default"))["spec"]["clusterIP"] == "10.96.0.1"
        assert await addresses(client) == ["192.0.2.1"]
        wrong = await client.get(ENDPOINTS, "kubernetes", "default")
        wrong["subsets"][0]["addresses"] = [{"ip": "192.0.2.99"}]
        await client.update(ENDPOINTS, wrong)

        async def right() -> bool:
            return await addresses(client) == ["192.0.2.1"]

        await until(right)


async def test_servers_of_one_store_are_named_while_they_live(etcd: EtcdCluster, tmp_path: Path) -> None:
    address = etcd.fresh()
    async with AsyncExitStack() as stack:
        servers = []
        for number in (1, 2, 3):
            store = EtcdStore(address)
            running = running_apiserver(tmp_path, store=store, advertise_address=f"192.0.2.{number}")
            servers.append(await stack.enter_async_context(running))
        client = servers[0].client
        assert await addresses(client) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        await servers[1].server.announce_stop()
        assert await addresses(client) == ["192.0.2.1", "192.0.2.3"]
        # One that died: its key goes with its lease, and somebody looks every ten seconds, or when something happens.
        store = EtcdStore(address)
        await store.start()
        await store.delete(f"{PREFIX}192.0.2.3/6443")
        await store.stop()
        for server in servers[1:]:
            server.server._endpoints._store = etcd_gone()
        await client.delete(ENDPOINTSLICES, "kubernetes", "default")

        async def alone() -> bool:
            return await addresses(client) == ["192.0.2.1"]

        await until(alone)


def etcd_gone() -> Any:
    """What a server has that can't reach its store any more."""

    class Gone:
        exclusive = False

        def __getattr__(self, _: str) -> Any:
            async def refuse(*_args: Any, **_options: Any) -> Any:
                raise Unavailable("gone")

            return refuse

    return Gone()


def test_servers_of_several_ports_and_families() -> None:
    members = [("192.0.2.2", 6443), ("192.0.2.1", 6443), ("192.0.2.1", 7443), ("2001:db8::1", 7443)]
    subsets = endpoints_of(members)["subsets"]
    assert [(s["ports"][0]["port"], [a["ip"] for a in s["addresses"]]) for s in subsets] == [
        (6443, ["192.0.2.1", "192.0.2.2"]),
        (7443, ["192.0.2.1", "2001:db8::1"]),
    ]
    found = slices_of(members)
    assert {n: (s["addressType"], s["ports"][0]["port"], len(s["endpoints"])) for n, s in found.items()} == {
        "kubernetes": ("IPv4", 6443, 2),
        "kubernetes-ipv4-7443": ("IPv4", 7443, 1),
        "kubernetes-ipv6-7443": ("IPv6", 7443, 1),
    }
