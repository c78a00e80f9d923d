"""Load balancers with a real API server, under the rights of upstream's role: given, kept, refused, taken down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.objects import Object
from kumo.api.resources import EVENTS, NODES, SERVICES
from kumo.api.users import service_account_user
from kumo.kubernetes.cloud_controller_manager.service_controller import FINALIZER, OWNED, ServiceController
from kumo.machinery.client import Client
from kumo.machinery.informer import Informers
from kumo.machinery.transport import InProcessTransport
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component

POOL = ("10.92.0.0/30",)
"""Two addresses."""


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path) as server:
        informers = Informers(server.client)
        user = service_account_user("kube-system", "service-controller")
        own = Client(InProcessTransport(server.server.handle, user))
        controller = ServiceController(own, informers, POOL)
        tasks = [asyncio.create_task(informers.run()), asyncio.create_task(controller.run())]
        try:
            yield server
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def make(client: Client, name: str, **spec: Any) -> Object:
    body = {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body}
    return await client.create(SERVICES, service, "default")


def addresses(service: Object) -> list[str]:
    return [i["ip"] for i in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()]


async def until(client: Client, name: str, check: Callable[[Object], Any]) -> Object:
    async with asyncio.timeout(30):
        while not check(found := await client.get(SERVICES, name, "default")):
            await asyncio.sleep(0.02)
    return found


async def events(client: Client, name: str, reason: str) -> list[Object]:
    async with asyncio.timeout(30):
        while True:
            listed = await client.list(EVENTS, "default", field_selector=f"involvedObject.name={name},reason={reason}")
            if listed.items:
                return listed.items
            await asyncio.sleep(0.02)


async def test_a_load_balancer_is_given_kept_and_taken_down(api: RunningApiServer) -> None:
    client = api.client
    await make(client, "one")
    one = await until(client, "one", addresses)
    assert one["status"]["loadBalancer"]["ingress"] == [{"ip": "10.92.0.1", "ipMode": "VIP"}]
    assert (FINALIZER in one["metadata"]["finalizers"], OWNED in one["metadata"]["annotations"]) == (True, True)
    for reason, kind in (("EnsuringLoadBalancer", "Normal"), ("EnsuredLoadBalancer", "Normal")):
        assert (await events(client, "one", reason))[0]["type"] == kind
    # no node: it is told, as upstream tells it
    assert (await events(client, "one", "UnAvailableLoadBalancer"))[0]["type"] == "Warning"
    # another type takes it down, and the address is free again
    await client.patch(SERVICES, "one", {"spec": {"type": "ClusterIP"}}, "default")
    one = await until(client, "one", lambda s: not addresses(s) and not s["metadata"].get("finalizers"))
    assert OWNED not in (one["metadata"].get("annotations") or {})
    assert (await events(client, "one", "DeletedLoadBalancer"))[0]["message"] == "Deleted load balancer"
    await make(client, "two")
    assert addresses(await until(client, "two", addresses)) == ["10.92.0.1"]
    await client.delete(SERVICES, "two", "default")
    async with asyncio.timeout(30):
        while (await client.list(SERVICES, "default", field_selector="metadata.name=two")).items:
            await asyncio.sleep(0.02)


async def test_an_exhausted_pool_says_so_and_serves_who_waits(api: RunningApiServer) -> None:
    client = api.client
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": ""}]}
    await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": ready})
    given = [await make(client, n) and await until(client, n, addresses) for n in ("a", "b")]
    assert [addresses(s) for s in given] == [["10.92.0.1"], ["10.92.0.2"]]
    await make(client, "c")
    failure = (await events(client, "c", "SyncLoadBalancerFailed"))[0]
    assert failure["type"] == "Warning"
    assert failure["message"] == (
        "Error syncing load balancer: failed to ensure load balancer: "
        "no IPv4 address is left for load balancers: all 2 are in use"
    )
    assert not addresses(await client.get(SERVICES, "c", "default"))
    await client.delete(SERVICES, "b", "default")
    assert addresses(await until(client, "c", addresses)) == ["10.92.0.2"]


async def test_addresses_are_requested_and_other_classes_left_alone(api: RunningApiServer) -> None:
    client = api.client
    await make(client, "other", loadBalancerClass="example.com/other")
    await make(client, "wish", loadBalancerIP="10.92.0.2")
    assert addresses(await until(client, "wish", addresses)) == ["10.92.0.2"]
    await make(client, "same", loadBalancerIP="10.92.0.2")
    failure = (await events(client, "same", "SyncLoadBalancerFailed"))[0]
    assert failure["message"].endswith("the requested address 10.92.0.2 is in use")
    await client.patch(SERVICES, "same", {"spec": {"loadBalancerIP": "10.92.0.1"}}, "default")
    assert addresses(await until(client, "same", addresses)) == ["10.92.0.1"]
    await client.patch(SERVICES, "wish", {"spec": {"allocateLoadBalancerNodePorts": False}}, "default")
    made = await make(client, "bare", allocateLoadBalancerNodePorts=False, loadBalancerClass="kumo.dev/pool")
    assert "nodePort" not in made["spec"]["ports"][0]
    # whoever writes into the status of what is ours is put right
    stolen = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    await client.patch(SERVICES, "wish", stolen, "default", subresource="status")
    await until(client, "wish", lambda s: addresses(s) == ["10.92.0.2"])
    left = await client.get(SERVICES, "other", "default")
    assert (addresses(left), left["metadata"].get("finalizers")) == ([], None)
