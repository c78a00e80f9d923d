"""The scheduler against the real API server: bindings, refusals, gates, preemption, latency."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.objects import Object
from kumo.api.resources import EVENTS, NODES, PODS, PRIORITYCLASSES
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
PRIORITYCLASS = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}


def pod(name: str, cpu: str = "", **spec: Any) -> Object:
    container: dict[str, Any] = {"name": "c", "image": "busybox"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


def node_of(obj: Object | None) -> str:
    return str(((obj or {}).get("spec") or {}).get("nodeName") or "")


async def test_scheduler_binds_and_says_so(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods, events = cluster.informers.informer(PODS), cluster.informers.informer(EVENTS)
    await cluster.client.create(PODS, pod("x"))
    found = await until(pods, lambda: pods.get("x", "default") if node_of(pods.get("x", "default")) else None)
    assert node_of(found) == "n1"
    assert conditions.is_true(found, "PodScheduled")
    expected = ("Scheduled", "Successfully assigned default/x to n1", "default-scheduler")
    await until(
        events,
        lambda: any((e["reason"], e["message"], e["reportingComponent"]) == expected for e in events.objects()),
    )


async def test_scheduler_says_why_not_and_tries_again_when_a_node_changes(cluster: HollowCluster) -> None:
    cluster.node("n1", cpu="1")
    pods, nodes = cluster.informers.informer(PODS), cluster.informers.informer(NODES)
    events = cluster.informers.informer(EVENTS)
    await until(nodes, lambda: bool((nodes.get("n1") or {}).get("status", {}).get("allocatable")))
    await until(nodes, lambda: not (nodes.get("n1") or {}).get("spec", {}).get("taints"))
    await cluster.client.create(PODS, pod("big", "2"))

    def refused() -> Object | None:
        found = conditions.condition(pods.get("big", "default") or {}, "PodScheduled")
        return found if found and found["status"] == "False" else None

    condition = await until(pods, refused)
    message = (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    assert (condition["reason"], condition["message"]) == ("Unschedulable", message)
    await until(
        events, lambda: any((e["reason"], e["message"]) == ("FailedScheduling", message) for e in events.objects())
    )
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    await cluster.client.patch(NODES, "n1", {"status": {"allocatable": allocatable}}, subresource="status")
    await until(pods, lambda: node_of(pods.get("big", "default")) == "n1")


async def test_scheduler_waits_for_room(cluster: HollowCluster) -> None:
    cluster.node("n1", cpu="2")
    pods = cluster.informers.informer(PODS)
    await cluster.client.create(PODS, pod("first", "1500m"))
    await until(pods, lambda: node_of(pods.get("first", "default")) == "n1")
    await cluster.client.create(PODS, pod("second", "1500m"))
    await until(pods, lambda: bool(conditions.condition(pods.get("second", "default") or {}, "PodScheduled")))
    assert node_of(pods.get("second", "default")) == ""
    await cluster.client.delete(PODS, "first", "default")
    await until(pods, lambda: node_of(pods.get("second", "default")) == "n1")


async def test_scheduler_leaves_gated_pods_and_those_of_others_alone(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods = cluster.informers.informer(PODS)
    await cluster.client.create(PODS, pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
    await cluster.client.create(PODS, pod("other", schedulerName="somebody-else"))
    await cluster.client.create(PODS, pod("mine"))
    await until(pods, lambda: node_of(pods.get("mine", "default")) == "n1")
    assert node_of(pods.get("gated", "default")) == ""
    await cluster.client.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, "default")
    await until(pods, lambda: node_of(pods.get("gated", "default")) == "n1")
    assert node_of(pods.get("other", "default")) == ""


async def test_scheduler_preempts_what_is_less_important(cluster: HollowCluster) -> None:
    cluster.node("n1", cpu="2")
    pods = cluster.informers.informer(PODS)
    for name, value in (("low", 1), ("high", 1000)):
        await cluster.client.create(PRIORITYCLASSES, {**PRIORITYCLASS, "metadata": {"name": name}, "value": value})
    await cluster.client.create(PODS, pod("victim", "1500m", priorityClassName="low"))
    await until(pods, lambda: node_of(pods.get("victim", "default")) == "n1")
    await cluster.client.create(PODS, pod("vip", "1500m", priorityClassName="high"))
    await until(pods, lambda: node_of(pods.get("vip", "default")) == "n1")
    assert pods.get("victim", "default") is None


async def test_scheduler_takes_a_few_milliseconds(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods = cluster.informers.informer(PODS)
    await cluster.client.create(PODS, pod("warm"))
    await until(pods, lambda: node_of(pods.get("warm", "default")) == "n1")
    taken = []
    for i in range(20):
        start = time.perf_counter()
        await cluster.client.create(PODS, pod(f"p{i}"))
        await until(pods, lambda i=i: node_of(pods.get(f"p{i}", "default")) == "n1")  # type: ignore[misc]
        taken.append((time.perf_counter() - start) * 1000)
    print(f"create to bound seen by a watcher: median {median(taken):.1f} ms, worst {max(taken):.1f} ms")
    assert median(taken) < 100
