"""Deployments end to end against the real API server: roll, undo, scale, delete."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.objects import Object, name_of
from kumo.api.resources import DEPLOYMENTS, EVENTS, PODS, REPLICASETS
from kumo.machinery.client import STRATEGIC_MERGE_PATCH
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component


def deployment(name: str = "web", replicas: int = 3, image: str = "nginx:1") -> Object:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }


def image_patch(image: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}


async def change_image(cluster: HollowCluster, image: str) -> Object:
    patch = image_patch(image)
    return await cluster.client.patch(DEPLOYMENTS, "web", patch, "default", kind=STRATEGIC_MERGE_PATCH)


def _image(replica_set: Object) -> str:
    return str(replica_set["spec"]["template"]["spec"]["containers"][0]["image"])


async def rolled(cluster: HollowCluster, written: Object, name: str = "web") -> Object:
    """The deployment, once it is as `written` and its rollout is complete (as `kubectl rollout status` waits)."""
    informer = cluster.informers.informer(DEPLOYMENTS)

    def done() -> Object | None:
        found = informer.get(name, "default")
        if found is None:
            return None
        status, wanted = found.get("status") or {}, found["spec"]["replicas"]
        observed = status.get("observedGeneration", 0) >= written["metadata"]["generation"]
        counts = [status.get(n, 0) for n in ("replicas", "updatedReplicas", "availableReplicas")]
        return found if observed and counts == [wanted] * 3 else None

    return await until(informer, done)


async def images(cluster: HollowCluster) -> list[str]:
    pods = (await cluster.client.list(PODS, "default")).items
    return [p["spec"]["containers"][0]["image"] for p in pods if not p["metadata"].get("deletionTimestamp")]


async def test_controller_deployment_rolls_undoes_and_scales(cluster: HollowCluster) -> None:
    cluster.node("n1")
    written = await cluster.client.create(DEPLOYMENTS, deployment())
    first = await rolled(cluster, written)
    assert await images(cluster) == ["nginx:1"] * 3
    assert first["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    written = await cluster.client.patch(
        DEPLOYMENTS, "web", image_patch("nginx:2"), "default", kind=STRATEGIC_MERGE_PATCH
    )
    second = await rolled(cluster, written)
    assert await images(cluster) == ["nginx:2"] * 3
    assert second["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    progressing = conditions.condition(second, "Progressing") or {}
    assert progressing["reason"] == "NewReplicaSetAvailable"
    written = await cluster.client.patch(
        DEPLOYMENTS, "web", image_patch("nginx:1"), "default", kind=STRATEGIC_MERGE_PATCH
    )
    third = await rolled(cluster, written)
    assert third["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert await images(cluster) == ["nginx:1"] * 3
    sets = (await cluster.client.list(REPLICASETS, "default")).items
    assert sorted(s["spec"]["replicas"] for s in sets) == [0, 3]
    await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "default", subresource="scale")
    written = await cluster.client.get(DEPLOYMENTS, "web", "default")
    await rolled(cluster, written)
    assert len(await images(cluster)) == 5
    events = cluster.informers.informer(EVENTS)
    name = name_of(next(s for s in sets if s["spec"]["replicas"] == 3))
    expected = f"Scaled up replica set {name} from 3 to 5"
    await until(events, lambda: any(e["message"].endswith(expected) for e in events.objects()))


async def test_controller_deployment_that_never_gets_ready_keeps_the_old_pods(cluster: HollowCluster) -> None:
    cluster.node("n1")
    written = await cluster.client.create(DEPLOYMENTS, deployment(replicas=4))
    await rolled(cluster, written)
    await change_image(cluster, "never:1")
    informer = cluster.informers.informer(REPLICASETS)

    def stuck() -> bool:
        sizes = {
            _image(s): (
                s["spec"]["replicas"],
                s["status"].get("replicas"),
            )
            for s in informer.objects("default")
            if "status" in s
        }
        return sizes == {"nginx:1": (3, 3), "never:1": (2, 2)}

    await until(informer, stuck)
    deployments = cluster.informers.informer(DEPLOYMENTS)

    def told() -> bool:
        found = deployments.get("web", "default")
        return found is not None and found["status"].get("availableReplicas") == 3

    await until(deployments, told)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_controller_deployment_deletion_takes_everything_along(cluster: HollowCluster, policy: str) -> None:
    cluster.node("n1")
    written = await cluster.client.create(DEPLOYMENTS, deployment())
    await rolled(cluster, written)
    pods, sets = cluster.informers.informer(PODS), cluster.informers.informer(REPLICASETS)
    deployments = cluster.informers.informer(DEPLOYMENTS)
    await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation=policy)
    for informer in (deployments, sets, pods):
        await until(informer, lambda informer=informer: not informer.objects("default"))  # type: ignore[misc]


async def test_controller_deployment_deletion_can_leave_orphans(cluster: HollowCluster) -> None:
    cluster.node("n1")
    written = await cluster.client.create(DEPLOYMENTS, deployment())
    await rolled(cluster, written)
    sets, deployments = cluster.informers.informer(REPLICASETS), cluster.informers.informer(DEPLOYMENTS)
    await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation="Orphan")
    await until(deployments, lambda: not deployments.objects("default"))
    (orphan,) = sets.objects("default")
    await until(sets, lambda: not sets.objects("default")[0]["metadata"].get("ownerReferences"))
    assert len(await images(cluster)) == 3
    written = await cluster.client.create(DEPLOYMENTS, deployment())
    await until(sets, lambda: bool(sets.objects("default")[0]["metadata"].get("ownerReferences")))
    await rolled(cluster, written)
    assert [name_of(s) for s in sets.objects("default")] == [name_of(orphan)]


async def test_controller_replicaset_replaces_a_pod_that_is_deleted(cluster: HollowCluster) -> None:
    cluster.node("n1")
    written = await cluster.client.create(DEPLOYMENTS, deployment())
    await rolled(cluster, written)
    pods = cluster.informers.informer(PODS)
    victim = name_of(pods.objects("default")[0])
    await cluster.client.delete(PODS, victim, "default")

    def replaced() -> bool:
        running = [p for p in pods.objects("default") if conditions.is_true(p, "Ready")]
        return len(running) == 3 and victim not in map(name_of, running)

    await until(pods, replaced)
