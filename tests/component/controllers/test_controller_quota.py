"""ResourceQuota over HTTP: charged by admission, recounted by the controller, exact under races."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS, CRDS, GVR, PODS, SERVICEACCOUNTS, core
from kumo.machinery.client import Client
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component

QUOTAS = core("resourcequotas")
WIDGETS = GVR("example.com", "v1", "widgets")


def quota(hard: dict[str, str], namespace: str = "team", name: str = "q", **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"hard": hard, **spec}}


def pod(name: str, cpu: str = "100m") -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": name, "namespace": "team"}, "spec": {"containers": [container]}}


async def furnished(cluster: HollowCluster) -> None:
    """The namespace `team` with its account and the certificate's map, which quotas count too."""
    await cluster.ensure_namespace("team")
    accounts, maps = cluster.informers.informer(SERVICEACCOUNTS), cluster.informers.informer(CONFIGMAPS)
    await until(accounts, lambda: accounts.get("default", "team"))
    await until(maps, lambda: maps.get("kube-root-ca.crt", "team"))


async def used(cluster: HollowCluster, name: str = "q", **wanted: str) -> Object:
    """The quota's status once it says at least what is wanted (`requests_cpu` for `requests.cpu`)."""
    informer = cluster.informers.informer(QUOTAS)
    expected = {key.replace("_", ".", 1): value for key, value in wanted.items()}.items()

    def says() -> Object | None:
        status = (informer.get(name, "team") or {}).get("status") or {}
        return status if expected <= (status.get("used") or {}).items() else None

    found: Object = await until(informer, says)
    return found


async def refused(client: Client, gvr: GVR, obj: Object) -> str:
    with pytest.raises(StatusError) as refusal:
        await client.create(gvr, obj)
    assert (refusal.value.code, refusal.value.reason) == (403, "Forbidden")
    return refusal.value.message


async def test_quota_follows_a_pods_life(cluster: HollowCluster) -> None:
    await furnished(cluster)
    await cluster.client.create(QUOTAS, quota({"pods": "2", "requests.cpu": "500m", "count/pods": "3"}))
    await used(cluster, pods="0", requests_cpu="0")
    await cluster.client.create(PODS, pod("a", "300m"))
    status = await used(cluster, pods="1")
    assert status["used"] == {"count/pods": "1", "pods": "1", "requests.cpu": "300m"}
    assert await refused(cluster.client, PODS, pod("b", "201m")) == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=201m, used: requests.cpu=300m, '
        "limited: requests.cpu=500m"
    )
    bare = {"metadata": {"name": "c", "namespace": "team"}, "spec": {"containers": [{"name": "x", "image": "i"}]}}
    assert await refused(cluster.client, PODS, bare) == (
        'pods "c" is forbidden: failed quota: q: must specify requests.cpu for: x'
    )
    await cluster.client.patch(PODS, "a", {"status": {"phase": "Succeeded"}}, "team", subresource="status")
    status = await used(cluster, pods="0", requests_cpu="0")
    assert status["used"]["count/pods"] == "1"
    await cluster.client.delete(PODS, "a", "team", grace_period=0)
    await used(cluster, **{"count/pods": "0"})
    await cluster.client.patch(QUOTAS, "q", {"spec": {"hard": {"pods": "7"}}}, "team")
    informer = cluster.informers.informer(QUOTAS)
    await until(informer, lambda: (informer.get("q", "team") or {})["status"]["hard"]["pods"] == "7")


async def test_quota_counts_custom_objects_of_definitions_made_later(cluster: HollowCluster) -> None:
    await furnished(cluster)
    await cluster.client.create(QUOTAS, quota({"count/widgets.example.com": "1"}))
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "widgets", "kind": "Widget"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    await cluster.client.create(CRDS, definition)
    await used(cluster, **{"count/widgets.example.com": "0"})
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "team"}}
    await cluster.client.create(WIDGETS, widget)
    await used(cluster, **{"count/widgets.example.com": "1"})
    widget["metadata"] = {"name": "v", "namespace": "team"}
    assert "exceeded quota: q" in await refused(cluster.client, WIDGETS, widget)


async def test_a_charge_whose_write_failed_is_given_back(cluster: HollowCluster) -> None:
    await furnished(cluster)
    await cluster.client.create(QUOTAS, quota({"pods": "5"}))
    await used(cluster, pods="0")
    await cluster.client.create(PODS, pod("a"))
    with pytest.raises(StatusError, match="already exists"):
        await cluster.client.create(PODS, pod("a"))
    await used(cluster, pods="1")


async def test_concurrent_writes_never_exceed_a_quota(cluster: HollowCluster) -> None:
    """Twelve writers create and delete as fast as they can; the controller recounts all the while."""
    await furnished(cluster)
    await cluster.client.create(QUOTAS, quota({"pods": "4", "requests.cpu": "350m"}))
    await used(cluster, pods="0")
    pods, quotas = cluster.informers.informer(PODS), cluster.informers.informer(QUOTAS)
    most, refusals, made = 0, 0, 0
    changed = asyncio.Event()
    quotas.on_change(lambda old, new: changed.set())

    def count(old: Object | None, new: Object | None) -> None:
        nonlocal most
        most = max(most, len(pods.objects("team")))

    pods.on_change(count)

    async def write(number: int) -> None:
        nonlocal refusals, made
        while made < 30:
            name = f"p{number}-{made}-{refusals}"
            changed.clear()
            try:
                await cluster.client.create(PODS, pod(name))
            except StatusError as error:
                assert error.code == 403 and "exceeded quota: q" in error.message
                refusals += 1
                await changed.wait()
            else:
                made += 1
                await cluster.client.delete(PODS, name, "team", grace_period=0)

    async with asyncio.timeout(20):
        await asyncio.gather(*(write(number) for number in range(12)))
    await used(cluster, pods="0", requests_cpu="0")
    assert most <= 3
    assert refusals > 0
    for number in range(3):
        await cluster.client.create(PODS, pod(f"last-{number}"))
    assert "exceeded quota" in await refused(cluster.client, PODS, pod("one-too-many"))
    await used(cluster, pods="3", requests_cpu="300m")


async def test_a_burst_fills_a_quota_to_the_brim(cluster: HollowCluster) -> None:
    await furnished(cluster)
    await cluster.client.create(QUOTAS, quota({"count/configmaps": "11"}))
    await used(cluster, **{"count/configmaps": "1"})

    async def write(number: int) -> bool:
        try:
            await cluster.client.create(CONFIGMAPS, {"metadata": {"name": f"m{number}", "namespace": "team"}})
        except StatusError as error:
            assert error.code == 403
            return False
        return True

    answers = await asyncio.gather(*(write(number) for number in range(40)))
    assert sum(answers) == 10
    await used(cluster, **{"count/configmaps": "11"})
