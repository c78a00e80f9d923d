"""Controllers that die lose nothing: those that come after them finish what was begun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kumo.api.objects import Object
from kumo.api.resources import DEPLOYMENTS, PODS, REPLICASETS
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
Start = Callable[[HollowCluster], list[asyncio.Task[None]]]


def deployment(image: str) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": 6, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": "web", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


async def kill(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def at_least(cluster: HollowCluster, count: int) -> None:
    pods = cluster.informers.informer(PODS)
    await until(pods, lambda: len(pods.objects("default")) >= count)


def counts(found: Object | None) -> list[Any]:
    status = (found or {}).get("status") or {}
    return [status.get(n, 0) for n in ("replicas", "updatedReplicas", "availableReplicas")]


async def test_controller_restarts_at_any_moment_lose_nothing(empty_cluster: HollowCluster, start: Start) -> None:
    cluster = empty_cluster
    cluster.node("n1")
    deployments, pods = cluster.informers.informer(DEPLOYMENTS), cluster.informers.informer(PODS)
    running = start(cluster)
    written = await cluster.client.create(DEPLOYMENTS, deployment("a:0"))
    for number in range(1, 8):
        # Killed as soon as so many more pods have been seen: each time somewhere else in the rollout.
        await at_least(cluster, min(len(pods.objects("default")) + number % 4, 6))
        await kill(running)
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": f"a:{number}"}]}}}}
        written = await cluster.client.patch(
            DEPLOYMENTS, "web", patch, "default", kind="application/strategic-merge-patch+json"
        )
        running = start(cluster)

    def done() -> bool:
        found = deployments.get("web", "default") or {}
        observed = (found.get("status") or {}).get("observedGeneration", 0)
        return observed >= written["metadata"]["generation"] and counts(found) == [6] * 3

    await until(deployments, done)
    live = (await cluster.client.list(PODS, "default")).items
    images = [p["spec"]["containers"][0]["image"] for p in live if not p["metadata"].get("deletionTimestamp")]
    assert images == ["a:7"] * 6


async def test_controller_garbage_of_a_time_without_collector_is_collected(
    empty_cluster: HollowCluster, start: Start
) -> None:
    cluster = empty_cluster
    cluster.node("n1")
    deployments, pods = cluster.informers.informer(DEPLOYMENTS), cluster.informers.informer(PODS)
    sets = cluster.informers.informer(REPLICASETS)
    running = start(cluster)
    await cluster.client.create(DEPLOYMENTS, deployment("a:0"))
    await until(deployments, lambda: counts(deployments.get("web", "default")) == [6] * 3)
    await kill(running)
    await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation="Background")
    start(cluster)
    await until(sets, lambda: not sets.objects("default"))
    await until(pods, lambda: not pods.objects("default"))
