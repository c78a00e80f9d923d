"""IPAddress objects with their services: made, kept and let go together; repaired; two families; dry runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api import conditions
from kumo.api.errors import StatusError, is_not_found
from kumo.api.resources import EVENTS, GVR, SERVICES
from kumo.machinery.client import MERGE_PATCH, Client
from kumo.store.base import Mutation
from kumo.store.sqlite import SqliteStore
from support.apiserver import running_apiserver

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]

CIDRS = GVR("networking.k8s.io", "v1", "servicecidrs", False)
ADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses", False)
BOTH = "10.96.0.0/16,fd00:10:96::/112"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dual(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A cluster of two families."""
    async with running_apiserver(tmp_path_factory.mktemp("dual"), service_cidr=BOTH) as server:
        yield server.client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def single(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A cluster of IPv4."""
    async with running_apiserver(tmp_path_factory.mktemp("single")) as server:
        yield server.client


async def make(client: Client, name: str, dry: bool = False, **spec: Any) -> dict[str, Any]:
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], **spec},
    }
    query = {"dryRun": "All"} if dry else {}
    made: dict[str, Any] = await client.request("POST", SERVICES.path("default"), query=query, body=body)
    return made


async def owners(client: Client) -> dict[str, str]:
    """The service of each address."""
    return {a["metadata"]["name"]: a["spec"]["parentRef"]["name"] for a in (await client.list(ADDRESSES)).items}


async def until(check: Callable[[], Any]) -> Any:
    async with asyncio.timeout(10):
        while not (found := await check()):
            await asyncio.sleep(0.02)
        return found


async def test_an_address_comes_and_goes_with_its_service(single: Client) -> None:
    made = await make(single, "web")
    address = await single.get(ADDRESSES, made["spec"]["clusterIP"])
    assert address["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    assert address["spec"] == {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}
    assert [m["manager"] for m in address["metadata"]["managedFields"]] == ["kube-apiserver"]
    assert (await owners(single))["10.96.0.1"] == "kubernetes"
    await single.patch(SERVICES, "web", {"spec": {"type": "ExternalName", "externalName": "a.b"}}, "default")
    assert "web" not in (await owners(single)).values()
    back = await single.patch(SERVICES, "web", {"spec": {"type": "ClusterIP", "externalName": None}}, "default")
    assert (await owners(single))[back["spec"]["clusterIP"]] == "web"
    await single.delete(SERVICES, "web", "default")
    assert "web" not in (await owners(single)).values()


async def test_a_service_that_is_refused_leaves_nothing(single: Client) -> None:
    before = await owners(single)
    with pytest.raises(StatusError):
        await make(single, "bad", sessionAffinity="Sometimes")
    await make(single, "once")
    with pytest.raises(StatusError, match="already exists"):
        await make(single, "once")
    assert len(await owners(single)) == len(before) + 1
    await single.delete(SERVICES, "once", "default")


async def test_an_address_that_somebody_reserved_is_not_given(single: Client) -> None:
    parent = {"group": "example.com", "resource": "appliances", "name": "router"}
    obj = {"metadata": {"name": "10.96.7.7"}, "spec": {"parentRef": parent}}
    await single.create(ADDRESSES, {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", **obj})
    with pytest.raises(StatusError, match=r"failed to allocate IP 10.96.7.7: provided IP is already allocated"):
        await make(single, "reserved", clusterIP="10.96.7.7")
    await single.delete(ADDRESSES, "10.96.7.7")
    made = await make(single, "reserved", clusterIP="10.96.7.7")
    assert made["spec"]["clusterIPs"] == ["10.96.7.7"]
    await single.delete(SERVICES, "reserved", "default")


async def test_a_dry_run_takes_nothing(single: Client) -> None:
    ports = {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}], "externalTrafficPolicy": "Local"}
    shown = await make(single, "dry", dry=True, type="LoadBalancer", **ports)
    assert shown["spec"]["clusterIPs"] == ["10.96.0.0"]
    assert [p["nodePort"] for p in shown["spec"]["ports"]] == [32769, 32770]
    assert shown["spec"]["healthCheckNodePort"] == 32771
    assert "dry" not in (await owners(single)).values()
    with pytest.raises(StatusError, match="does not match the current range"):
        await make(single, "dry", clusterIP="10.96.0.0")


async def test_what_is_deleted_or_relabelled_is_repaired(single: Client) -> None:
    own = (await make(single, "kept"))["spec"]["clusterIP"]

    async def managed() -> Any:
        try:
            found = await single.get(ADDRESSES, own)
        except StatusError as error:
            assert is_not_found(error)
            return None
        return found if len(found["metadata"].get("labels") or {}) == 2 else None

    first = await managed()
    await single.delete(ADDRESSES, own)
    second = await until(managed)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    await single.patch(ADDRESSES, own, {"metadata": {"labels": None}}, "", kind=MERGE_PATCH)
    assert (await until(managed))["metadata"]["uid"] != second["metadata"]["uid"]

    async def told() -> Any:
        events = (await single.list(EVENTS, "default")).items
        return [e for e in events if e["reason"] == "ClusterIPNotAllocated" and e["involvedObject"]["name"] == "kept"]

    (event,) = await until(told)
    assert event["message"] == f"Cluster IP [IPv4]: {own} is not allocated; repairing"
    await single.delete(SERVICES, "kept", "default")
    assert own not in await owners(single)


async def test_data_without_addresses_are_completed_at_start(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        given = {f"s{i}": (await make(server.client, f"s{i}"))["spec"]["clusterIP"] for i in range(5)}
    store = SqliteStore(tmp_path / "store" / "kumo.db")
    await store.start()
    keys = (await store.range("/registry/networking.k8s.io/ipaddresses/")).kvs
    assert len(keys) == 6
    await store.commit([Mutation(kv.key, None) for kv in keys])
    await store.delete("/registry/networking.k8s.io/servicecidrs/kubernetes")
    await store.stop()
    async with running_apiserver(tmp_path) as server:
        assert await owners(server.client) == {"10.96.0.1": "kubernetes"} | {ip: name for name, ip in given.items()}
        assert conditions.is_true(await server.client.get(CIDRS, "kubernetes"), "Ready")


async def test_the_default_range_grows_by_a_family(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        found = await server.client.get(CIDRS, "kubernetes")
        (ready,) = found["status"]["conditions"]
        assert (ready["status"], ready["reason"]) == ("True", "")
        assert ready["message"] == "Kubernetes default Service CIDR is ready"
        await make(server.client, "prefers", ipFamilyPolicy="PreferDualStack")
        await server.client.delete(CIDRS, "kubernetes")
        await until(lambda: _exists(server.client))
    async with running_apiserver(tmp_path, service_cidr=BOTH) as server:
        assert (await server.client.get(CIDRS, "kubernetes"))["spec"]["cidrs"] == BOTH.split(",")
        # It keeps what it has until it is changed in earnest.
        kept = await server.client.patch(SERVICES, "prefers", {"metadata": {"labels": {"a": "b"}}}, "default")
        assert kept["spec"]["ipFamilies"] == ["IPv4"]


async def _exists(client: Client) -> bool:
    try:
        return "deletionTimestamp" not in (await client.get(CIDRS, "kubernetes"))["metadata"]
    except StatusError:
        return False


async def test_two_families(dual: Client) -> None:
    made = (await make(dual, "two", ipFamilyPolicy="RequireDualStack"))["spec"]
    assert made["ipFamilies"] == ["IPv4", "IPv6"] and made["clusterIP"] == made["clusterIPs"][0]
    assert made["clusterIPs"][1].startswith("fd00:10:96::")
    assert list((await owners(dual)).values()).count("two") == 2
    six = (await make(dual, "six", ipFamilies=["IPv6"]))["spec"]
    assert (six["ipFamilyPolicy"], six["clusterIPs"][0].startswith("fd00:10:96::")) == ("SingleStack", True)
    grown = await dual.patch(SERVICES, "six", {"spec": {"ipFamilyPolicy": "PreferDualStack"}}, "default")
    assert grown["spec"]["ipFamilies"] == ["IPv6", "IPv4"] and len(grown["spec"]["clusterIPs"]) == 2
    second = grown["spec"]["clusterIPs"][1]
    assert (await owners(dual))[second] == "six"
    narrow = await dual.patch(SERVICES, "six", {"spec": {"ipFamilyPolicy": "SingleStack"}}, "default")
    assert narrow["spec"]["clusterIPs"] == six["clusterIPs"] and narrow["spec"]["ipFamilies"] == ["IPv6"]
    assert second not in await owners(dual)
    free = (await make(dual, "free", selector=None, clusterIP="None"))["spec"]
    assert (free["ipFamilyPolicy"], free["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])
    with pytest.raises(StatusError, match="must be 'SingleStack' to release the secondary cluster IP"):
        await dual.patch(SERVICES, "two", {"spec": {"clusterIPs": made["clusterIPs"][:1]}}, "default")
    for name in ("two", "six", "free"):
        await dual.delete(SERVICES, name, "default")
    assert set((await owners(dual)).values()) == {"kubernetes"}


async def test_one_family_only(single: Client) -> None:
    with pytest.raises(StatusError, match="this cluster is not configured for dual-stack services"):
        await make(single, "x", ipFamilyPolicy="RequireDualStack")
    with pytest.raises(
        StatusError, match=r"spec.ipFamilies\[0\]: Invalid value: \"IPv6\": not configured on this cluster"
    ):
        await make(single, "x", ipFamilies=["IPv6"])
    with pytest.raises(StatusError, match="IPv6 is not configured on this cluster"):
        await make(single, "x", clusterIP="fd00:10:96::9")


async def test_many_at_once_get_addresses_of_their_own(dual: Client) -> None:
    made = await asyncio.gather(
        *(make(dual, f"m{i}", ipFamilyPolicy="PreferDualStack", type="NodePort") for i in range(40))
    )
    given = [address for service in made for address in service["spec"]["clusterIPs"]]
    assert len(set(given)) == 80 == len([o for o in (await owners(dual)).values() if o.startswith("m")])
    assert len({service["spec"]["ports"][0]["nodePort"] for service in made}) == 40
    await asyncio.gather(*(dual.delete(SERVICES, f"m{i}", "default") for i in range(40)))
    assert set((await owners(dual)).values()) == {"kubernetes"}


async def test_what_is_given_and_left_is_measured(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        client = server.client
        await make(client, "a", type="NodePort")
        await make(client, "b", clusterIP="10.96.0.9", type="NodePort", ports=[{"port": 80, "nodePort": 30001}])
        for spec in ({"clusterIP": "10.96.0.9"}, {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}):
            with pytest.raises(StatusError):
                await make(client, "c", **spec)
        await make(client, "d", dry=True, type="NodePort")
        answer = await client.transport.request("GET", "/metrics")
        lines = set(answer.body.decode().splitlines())
        ips, ports = "kube_apiserver_clusterip_allocator", "kube_apiserver_nodeport_allocator"
        assert lines >= {
            f'{ips}_allocated_ips{{cidr="10.96.0.0/16"}} 3',
            f'{ips}_available_ips{{cidr="10.96.0.0/16"}} 65531',
            f'{ips}_allocation_total{{cidr="10.96.0.0/16",scope="static"}} 2',
            f'{ips}_allocation_errors_total{{cidr="10.96.0.0/16",scope="static"}} 1',
            f"{ports}_allocated_ports 2",
            f"{ports}_available_ports 2766",
            f'{ports}_allocation_total{{scope="dynamic"}} 1',
            f'{ports}_allocation_total{{scope="static"}} 1',
            f'{ports}_allocation_errors_total{{scope="static"}} 1',
        }
