"""Replication controllers, cron jobs and mirrored Endpoints against the real API server."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object, controller_of, labels_of, name_of
from kumo.api.resources import ENDPOINTS, ENDPOINTSLICES, EVENTS, GVR, PODS, SERVICES
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
CONTROLLERS = GVR("", "v1", "replicationcontrollers")
CRONJOBS, JOBS = GVR("batch", "v1", "cronjobs"), GVR("batch", "v1", "jobs")


def thing(api_version: str, kind: str, name: str, **parts: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, **parts}


async def test_controller_replication_controller_keeps_its_number(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods, found = cluster.informers.informer(PODS), cluster.informers.informer(CONTROLLERS)
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    await cluster.client.create(CONTROLLERS, thing("v1", "ReplicationController", "rc", spec={"template": template}))
    await until(found, lambda: ((found.get("rc", "default") or {}).get("status") or {}).get("readyReplicas") == 1)
    await cluster.client.patch(CONTROLLERS, "rc", {"spec": {"replicas": 3}}, "default", subresource="scale")
    done = await until(found, lambda: _ready(found.get("rc", "default"), 3))
    assert "terminatingReplicas" not in done["status"]
    one = pods.objects("default")[0]
    await cluster.client.patch(PODS, name_of(one), {"metadata": {"labels": {"app": "other"}}}, "default")
    await until(pods, lambda: len(pods.objects("default")) == 4)
    await until(pods, lambda: controller_of(pods.get(name_of(one), "default") or {}) is None)
    await cluster.client.delete(CONTROLLERS, "rc", "default", propagation="Background")
    await until(pods, lambda: [name_of(p) for p in pods.objects("default")] == [name_of(one)])


def _ready(obj: Object | None, count: int) -> Object | None:
    return obj if obj is not None and (obj.get("status") or {}).get("readyReplicas") == count else None


async def test_controller_cron_job_starts_jobs_and_keeps_books(cluster: HollowCluster) -> None:
    cron_jobs, jobs = cluster.informers.informer(CRONJOBS), cluster.informers.informer(JOBS)
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
    spec: dict[str, Any] = {
        "schedule": "@every 1s",
        "successfulJobsHistoryLimit": 0,
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"metadata": {"labels": {"app": "cron"}}, "spec": {"template": {"spec": pod}}},
    }
    await cluster.client.create(CRONJOBS, thing("batch/v1", "CronJob", "cron", spec=spec))
    await until(cron_jobs, lambda: ((cron_jobs.get("cron", "default") or {}).get("status") or {}).get("active"))
    (job,) = jobs.objects("default")
    assert labels_of(job) == {"app": "cron"}
    assert (controller_of(job) or {})["name"] == "cron"
    (ref,) = (cron_jobs.get("cron", "default") or {})["status"]["active"]
    assert (ref["name"], ref["kind"], ref["uid"]) == (name_of(job), "Job", job["metadata"]["uid"])
    events = cluster.informers.informer(EVENTS)
    await until(events, lambda: "SuccessfulCreate" in {e.get("reason") for e in events.objects("default")})
    await cluster.client.patch(CRONJOBS, "cron", {"spec": {"suspend": True}}, "default")
    ended = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    target = {**ended, "type": "SuccessCriteriaMet"}
    await until(jobs, lambda: ((jobs.get(name_of(job), "default") or {}).get("status") or {}).get("active"))
    live = await cluster.client.get(JOBS, name_of(job), "default")
    status = {**live["status"], "conditions": [target, ended], "completionTime": live["status"]["startTime"]}
    status |= {"active": 0, "succeeded": 1}
    await cluster.client.update_status(JOBS, {**live, "status": {k: v for k, v in status.items() if k != "ready"}})
    await until(jobs, lambda: jobs.get(name_of(job), "default") is None)
    done = await until(cron_jobs, lambda: _idle(cron_jobs.get("cron", "default")))
    assert done["status"]["lastSuccessfulTime"] == live["status"]["startTime"]
    # What is beyond the history limits leaves the books before its end is seen.
    await until(events, lambda: "SuccessfulDelete" in {e.get("reason") for e in events.objects("default")})
    assert "SawCompletedJob" not in {e.get("reason") for e in events.objects("default")}


def _idle(obj: Object | None) -> Object | None:
    status = (obj or {}).get("status") or {}
    return obj if obj and "active" not in status and "lastSuccessfulTime" in status else None


async def test_controller_endpoints_by_hand_are_mirrored(cluster: HollowCluster) -> None:
    slices = cluster.informers.informer(ENDPOINTSLICES)
    port = {"name": "db", "port": 5432}
    await cluster.client.create(SERVICES, thing("v1", "Service", "db", spec={"ports": [port]}))
    subsets = [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "ports": [port]}]
    await cluster.client.create(ENDPOINTS, thing("v1", "Endpoints", "db", subsets=subsets))

    def found() -> dict[str, list[str]]:
        mine = [s for s in slices.objects("default") if labels_of(s).get("kubernetes.io/service-name") == "db"]
        return {s["addressType"]: [e["addresses"][0] for e in s.get("endpoints") or ()] for s in mine}

    await until(slices, lambda: found() == {"IPv4": ["192.0.2.1"], "IPv6": ["2001:db8::1"]})
    subsets = [{"addresses": [{"ip": "192.0.2.2"}], "ports": [port]}]
    await cluster.client.patch(ENDPOINTS, "db", {"subsets": subsets}, "default")
    await until(slices, lambda: found() == {"IPv4": ["192.0.2.2"]})
    await cluster.client.patch(SERVICES, "db", {"spec": {"selector": {"app": "db"}}}, "default")
    await until(slices, lambda: found() == {"IPv4": []})  # that of the service's pods, of which there are none
