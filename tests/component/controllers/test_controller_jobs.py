"""Jobs against the real API server, garbage collector and hollow nodes."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object, controller_of, is_deleting, name_of
from kumo.api.resources import EVENTS, GVR, PODS
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
JOBS = GVR("batch", "v1", "jobs")
TRACKING = "batch.kubernetes.io/job-tracking"


def job(name: str, **spec: Any) -> Object:
    spec.setdefault("template", {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}})
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def running(cluster: HollowCluster, count: int) -> list[Object] | None:
    pods = cluster.informers.informer(PODS).objects("default")
    live = [p for p in pods if (p.get("status") or {}).get("phase") == "Running" and not is_deleting(p)]
    return live if len(live) == count else None


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
async def test_controller_job_that_is_deleted_leaves_no_held_pod(cluster: HollowCluster, propagation: str) -> None:
    cluster.node("n1")
    pods = cluster.informers.informer(PODS)
    await cluster.client.create(JOBS, job("j", completions=4, parallelism=2))
    await until(pods, lambda: running(cluster, 2))
    await cluster.client.delete(JOBS, "j", "default", propagation=propagation)
    if propagation != "Orphan":
        await until(pods, lambda: not pods.objects("default"))
        return
    await until(pods, lambda: not any(o["metadata"].get("finalizers") for o in pods.objects("default")))
    assert running(cluster, 2) and not any(controller_of(o) for o in pods.objects("default"))


async def test_controller_job_adopts_and_lets_go(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods = cluster.informers.informer(PODS)
    await cluster.client.create(JOBS, job("j", completions=9, parallelism=2))
    first, second = await until(pods, lambda: running(cluster, 2)) or []

    def own(pod: Object) -> tuple[bool, bool]:
        live = pods.get(name_of(pod), "default") or {}
        return controller_of(live) is not None, TRACKING in (live["metadata"].get("finalizers") or ())

    orphan = {"metadata": {"ownerReferences": None, "finalizers": None}}
    await cluster.client.patch(PODS, name_of(first), orphan, "default")
    await until(pods, lambda: own(first) == (True, True))
    stranger = {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "another"}}}
    await cluster.client.patch(PODS, name_of(second), stranger, "default")
    await until(pods, lambda: own(second) == (False, False))
    await until(pods, lambda: running(cluster, 3))


async def test_controller_job_pods_that_vanish_are_replaced_after_a_while(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods, events = cluster.informers.informer(PODS), cluster.informers.informer(EVENTS)
    await cluster.client.create(JOBS, job("j", completions=1, backoffLimit=0))
    (pod,) = await until(pods, lambda: running(cluster, 1)) or []
    await cluster.client.delete(PODS, name_of(pod), "default")
    jobs = cluster.informers.informer(JOBS)
    done = await until(jobs, lambda: _failed(jobs.get("j", "default")))
    assert (done["status"]["failed"], done["status"].get("active", 0)) == (1, 0)
    await until(pods, lambda: not pods.objects("default"))
    await until(events, lambda: "BackoffLimitExceeded" in {e.get("reason") for e in events.objects("default")})


async def test_controller_job_goes_when_its_time_is_over(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods, jobs = cluster.informers.informer(PODS), cluster.informers.informer(JOBS)
    await cluster.client.create(JOBS, job("j", completions=1, ttlSecondsAfterFinished=0))
    await cluster.client.create(JOBS, job("theirs", completions=1, managedBy="example.com/queue"))
    (pod,) = await until(pods, lambda: running(cluster, 1)) or []
    done = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"phase": "Succeeded"}}
    await cluster.client.patch(
        PODS, name_of(pod), done, "default", kind="application/strategic-merge-patch+json", subresource="status"
    )
    await until(jobs, lambda: jobs.get("j", "default") is None)
    await until(pods, lambda: not pods.objects("default"))
    assert not (jobs.get("theirs", "default") or {}).get("status")


def _failed(obj: Object | None) -> Object | None:
    conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
    return obj if any(c["type"] == "Failed" for c in conditions) else None
