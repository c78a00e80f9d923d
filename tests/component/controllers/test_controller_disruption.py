"""Disruption budgets and evictions, kubectl drain, and the protection of storage objects in use."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, is_deleting, name_of, owner_reference
from kumo.api.resources import CONFIGMAPS, GVR, NODES, PODS, REPLICASETS, core
from kumo.machinery.client import Client
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)


def replicas(count: int) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    spec = {"replicas": count, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}


def budget(name: str = "b", **spec: Any) -> Object:
    spec.setdefault("selector", {"matchLabels": {"app": "web"}})
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def status(cluster: HollowCluster, name: str = "b", **wanted: Any) -> Object:
    informer = cluster.informers.informer(BUDGETS)

    def says() -> Object | None:
        found = informer.get(name, "default") or {}
        current = found.get("status") or {}
        seen = current.get("observedGeneration") == found.get("metadata", {}).get("generation")
        return current if seen and wanted.items() <= current.items() else None

    found: Object = await until(informer, says)
    return found


async def evict(client: Client, pod: str, **options: Any) -> Object:
    body: Object = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    if options:
        body["deleteOptions"] = options
    found: Object = await client.request("POST", f"{PODS.path('default', pod)}/eviction", body=body)
    return found


async def refused(client: Client, pod: str, **options: Any) -> StatusError:
    with pytest.raises(StatusError) as refusal:
        await evict(client, pod, **options)
    return refusal.value


async def test_budgets_let_pods_go_one_by_one(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods = cluster.informers.informer(PODS)
    await cluster.client.create(BUDGETS, budget(minAvailable="60%"))
    await status(cluster, expectedPods=0, disruptionsAllowed=0)
    await cluster.client.create(REPLICASETS, replicas(3))
    found = await status(cluster, currentHealthy=3)
    assert (found["desiredHealthy"], found["expectedPods"], found["disruptionsAllowed"]) == (2, 3, 1)
    assert conditions.find(found["conditions"], "DisruptionAllowed")["reason"] == "SufficientPods"  # type: ignore[index]
    first, second, _ = sorted(name_of(p) for p in pods.objects("default"))
    assert (await evict(cluster.client, first, dryRun=["All"]))["status"] == "Success"
    await cluster.client.get(PODS, first, "default")
    marked: list[Object] = []
    pods.on_change(lambda old, new: marked.append(old or {}) if new is None else None)
    answers = await asyncio.gather(*(evict(cluster.client, name) for name in (first, second)), return_exceptions=True)
    wrong = [answer for answer in answers if isinstance(answer, StatusError)]
    assert len(wrong) == 1 and wrong[0].code == 429
    assert wrong[0].message == "Cannot evict pod as it would violate the pod's disruption budget."
    assert (wrong[0].details or {})["causes"][0]["reason"] == "DisruptionBudget"
    await until(pods, lambda: marked)
    target = conditions.condition(marked[0], "DisruptionTarget")
    assert target is not None and target["reason"] == "EvictionByEvictionAPI"
    await status(cluster, currentHealthy=3, disruptionsAllowed=1)


async def test_pods_that_no_budget_keeps(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods = cluster.informers.informer(PODS)
    for name, image in (("well", "busybox"), ("ill", "never"), ("other", "busybox")):
        meta = {"name": name, "namespace": "default", "labels": {"app": "web"} if name != "other" else {"app": "x"}}
        await cluster.client.create(PODS, {"metadata": meta, "spec": {"containers": [{"name": "c", "image": image}]}})

    def phase(name: str) -> str:
        return str(((pods.get(name, "default") or {}).get("status") or {}).get("phase"))

    await until(pods, lambda: all(phase(name) == "Running" for name in ("well", "ill", "other")))
    await cluster.client.create(BUDGETS, budget(minAvailable=1))
    await status(cluster, currentHealthy=1, disruptionsAllowed=0)
    error = await refused(cluster.client, "well")
    assert (error.details or {})["causes"][0]["message"] == (
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    )
    assert (await evict(cluster.client, "ill"))["code"] == 201
    await evict(cluster.client, "other")
    await cluster.client.create(BUDGETS, budget("second", maxUnavailable=1))
    error = await refused(cluster.client, "well")
    assert (error.code, error.message) == (
        500,
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
    )
    assert (await refused(cluster.client, "nobody")).code == 404
    wrong = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "else"}}
    with pytest.raises(StatusError, match="name in URL does not match name in Eviction object"):
        await cluster.client.request("POST", f"{PODS.path('default', 'well')}/eviction", body=wrong)


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": 7},
        {"metadata": {"name": "p"}, "deleteOptions": []},
        {"metadata": {"name": "p"}, "deleteOptions": {"preconditions": 7}},
        {"metadata": {"name": "p"}, "deleteOptions": {"dryRun": "All"}},
        {"metadata": {"name": "p"}, "kind": "Pod"},
    ],
)
async def test_evictions_that_are_none(empty_cluster: HollowCluster, body: Object) -> None:
    with pytest.raises(StatusError) as refusal:
        await empty_cluster.client.request("POST", f"{PODS.path('default', 'p')}/eviction", body=body)
    assert refusal.value.code == 400


async def test_a_budget_that_nobody_can_count_allows_nothing(cluster: HollowCluster) -> None:
    made = await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "m", "namespace": "default"}})
    owner = owner_reference({**made, "apiVersion": "v1", "kind": "ConfigMap"})
    meta = {"name": "p", "namespace": "default", "labels": {"app": "web"}, "ownerReferences": [owner]}
    await cluster.client.create(PODS, {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    await cluster.client.create(BUDGETS, budget(maxUnavailable=1))
    budgets = cluster.informers.informer(BUDGETS)

    def failed() -> Object | None:
        found = conditions.condition(budgets.get("b", "default") or {}, "DisruptionAllowed")
        return found if found and found["reason"] == "SyncFailed" else None

    condition = await until(budgets, failed)
    assert (condition["status"], condition["message"]) == (
        "False",
        "configmaps does not implement the scale subresource",
    )


async def test_kubectl_drains_a_node_as_budgets_allow(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods, nodes = cluster.informers.informer(PODS), cluster.informers.informer(NODES)
    await until(nodes, lambda: bool((nodes.get("n1") or {}).get("status", {}).get("allocatable")))
    await cluster.client.create(BUDGETS, budget(minAvailable=1))
    await cluster.client.create(REPLICASETS, replicas(2))
    await status(cluster, currentHealthy=2, disruptionsAllowed=1)
    process = await asyncio.create_subprocess_exec(
        "kubectl", "--kubeconfig", cluster.kubeconfig, "drain", "n1", "--timeout=60s",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        # The first pod goes; its successor and the budget wait for a node that takes pods.
        await until(nodes, lambda: (nodes.get("n1") or {}).get("spec", {}).get("unschedulable"))
        await status(cluster, currentHealthy=1, disruptionsAllowed=0)
        cluster.node("n2")
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
        assert process.returncode == 0, output
        assert b"node/n1 drained" in output and b"violate the pod's disruption budget" in output
        await until(pods, lambda: {p["spec"].get("nodeName") for p in pods.objects("default")} <= {"n2", None})
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_storage_in_use_stays_until_it_is_not(cluster: HollowCluster) -> None:
    cluster.node("n1")
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    made = await cluster.client.create(CLAIMS, {"metadata": {"name": "c", "namespace": "default"}, **claim})
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "busybox"}], "volumes": volumes}
    await cluster.client.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
    await cluster.client.delete(CLAIMS, "c", "default")
    claims = cluster.informers.informer(CLAIMS)
    await until(claims, lambda: is_deleting(claims.get("c", "default") or {"metadata": {}}))
    pods = cluster.informers.informer(PODS)
    await until(pods, lambda: ((pods.get("p", "default") or {}).get("status") or {}).get("phase") == "Running")
    assert claims.get("c", "default") is not None
    await cluster.client.delete(PODS, "p", "default", grace_period=0)
    await until(claims, lambda: claims.get("c", "default") is None)
    source = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    made = await cluster.client.create(VOLUMES, {"metadata": {"name": "v"}, "spec": source})
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    await cluster.client.delete(VOLUMES, "v")

    async def gone() -> bool:
        try:
            await cluster.client.get(VOLUMES, "v")
        except StatusError as error:
            return is_not_found(error)
        return False

    found = cluster.informers.informer(VOLUMES)
    await until(found, lambda: found.get("v") is None)
    assert await gone()
