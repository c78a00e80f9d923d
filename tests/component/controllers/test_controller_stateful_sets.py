"""Stateful sets and daemon sets against the real API server, with hollow nodes and the real kubectl."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object, controller_of, is_deleting, labels_of, name_of
from kumo.api.resources import CONTROLLERREVISIONS, DAEMONSETS, EVENTS, NODES, PODS, STATEFULSETS, core
from kumo.kubernetes.controller_manager.revisions import HASH_LABEL, number_of
from kumo.machinery.client import STRATEGIC_MERGE_PATCH
from support.commands import kubectl
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
CLAIMS = core("persistentvolumeclaims")


def workload(kind: str, name: str, **spec: Any) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "busybox:1"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template, **spec}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": spec}


def image(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


async def test_controller_stateful_set_rolls_out_and_back(cluster: HollowCluster) -> None:
    cluster.node("n1")
    pods, sets = cluster.informers.informer(PODS), cluster.informers.informer(STATEFULSETS)
    await cluster.client.create(STATEFULSETS, workload("StatefulSet", "web", replicas=3, serviceName="web"))
    assert "roll out complete: 3 new" in await kubectl(cluster, "rollout", "status", "sts/web", "--timeout=20s")
    first = {name_of(pod): pod for pod in pods.objects("default")}
    assert sorted(first) == ["web-0", "web-1", "web-2"]
    births = [first[n]["metadata"]["resourceVersion"] for n in sorted(first)]
    assert births == sorted(births, key=int)
    one = first["web-1"]
    assert (one["spec"]["hostname"], one["spec"]["subdomain"]) == ("web-1", "web")
    found = sets.get("web", "default") or {}
    revision = found["status"]["currentRevision"]
    assert labels_of(one) == {
        "app": "web",
        "apps.kubernetes.io/pod-index": "1",
        "statefulset.kubernetes.io/pod-name": "web-1",
        "controller-revision-hash": revision,
    }
    partition = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}}
    await cluster.client.patch(STATEFULSETS, "web", partition, "default")
    await kubectl(cluster, "set", "image", "sts/web", "c=busybox:2")
    assert "partitioned roll out complete: 1 new" in await kubectl(cluster, "rollout", "status", "sts/web")
    assert [image(pods.get(n, "default") or {}) for n in sorted(first)] == ["busybox:1", "busybox:1", "busybox:2"]
    await cluster.client.delete(PODS, "web-0", "default")
    await until(pods, lambda: _uid(pods.get("web-0", "default")) not in ("", first["web-0"]["metadata"]["uid"]))
    assert image(pods.get("web-0", "default") or {}) == "busybox:1"
    partition["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0
    await cluster.client.patch(STATEFULSETS, "web", partition, "default")
    await until(sets, lambda: _settled(sets.get("web", "default"), 3))
    history = await kubectl(cluster, "rollout", "history", "sts/web")
    assert [line.split() for line in history.splitlines()[2:4]] == [["1", "<none>"], ["2", "<none>"]]
    assert "rolled back" in await kubectl(cluster, "rollout", "undo", "sts/web")
    back = await until(sets, lambda: _settled(sets.get("web", "default"), 3))
    assert back["status"]["currentRevision"] == revision
    assert {image(pod) for pod in pods.objects("default")} == {"busybox:1"}
    await kubectl(cluster, "scale", "sts/web", "--replicas=1")
    await until(pods, lambda: [name_of(pod) for pod in pods.objects("default")] == ["web-0"])
    events = cluster.informers.informer(EVENTS)
    await until(events, lambda: "Delete Pod web-1 in StatefulSet web successful" in _messages(events.objects()))
    kept = pods.get("web-0", "default")
    await kubectl(cluster, "delete", "sts", "web", "--cascade=orphan")
    await until(pods, lambda: controller_of(pods.get("web-0", "default") or {}) is None)
    await cluster.client.create(STATEFULSETS, workload("StatefulSet", "web", replicas=1, serviceName="web"))
    adopted = await until(sets, lambda: _settled(sets.get("web", "default"), 1))
    assert adopted["status"]["currentRevision"] == revision
    assert _uid(pods.get("web-0", "default")) == _uid(kept)
    await cluster.client.patch(PODS, "web-0", {"metadata": {"labels": {"app": "other"}}}, "default")
    await until(pods, lambda: controller_of(pods.get("web-0", "default") or {}) is None)
    await cluster.client.delete(PODS, "web-0", "default")
    await until(pods, lambda: _uid(pods.get("web-0", "default")) not in ("", _uid(kept)))
    await cluster.client.delete(STATEFULSETS, "web", "default", propagation="Foreground")
    await until(pods, lambda: not pods.objects("default"))


def _uid(pod: Object | None) -> str:
    return str(((pod or {}).get("metadata") or {}).get("uid") or "")


def _messages(events: list[Object]) -> set[str]:
    return {str(e.get("message")) for e in events}


def _settled(obj: Object | None, size: int) -> Object | None:
    """The set when all its pods are of its update revision and available."""
    if obj is None:
        return None
    status = obj.get("status") or {}
    seen = status.get("observedGeneration") == obj["metadata"]["generation"]
    done = status.get("updatedReplicas") == status.get("availableReplicas") == status.get("replicas") == size
    return obj if seen and done and status["currentRevision"] == status["updateRevision"] else None


async def test_controller_stateful_set_keeps_claims_by_its_policy(cluster: HollowCluster) -> None:
    claims, pods = cluster.informers.informer(CLAIMS), cluster.informers.informer(PODS)
    template = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    made = workload(
        "StatefulSet",
        "db",
        replicas=2,
        ordinals={"start": 5},
        podManagementPolicy="Parallel",
        volumeClaimTemplates=[template],
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete", "whenScaled": "Delete"},
    )
    await cluster.client.create(STATEFULSETS, made)

    def owners() -> dict[str, str]:
        return {name_of(c): str((controller_of(c) or {}).get("name")) for c in claims.objects("default")}

    await until(claims, lambda: owners() == {"data-db-5": "db", "data-db-6": "db"})
    volumes = (pods.get("db-6", "default") or {})["spec"]["volumes"]
    assert volumes[0] == {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-6"}}
    await kubectl(cluster, "scale", "sts/db", "--replicas=1")
    await until(claims, lambda: owners() == {"data-db-5": "db"})
    assert [name_of(pod) for pod in pods.objects("default")] == ["db-5"]
    await cluster.client.delete(STATEFULSETS, "db", "default", propagation="Background")
    await until(claims, lambda: not owners())


async def test_controller_daemon_set_runs_where_it_may_and_rolls(cluster: HollowCluster) -> None:
    for name in ("n1", "n2", "n3"):
        cluster.node(name)
    pods, nodes = cluster.informers.informer(PODS), cluster.informers.informer(NODES)
    sets, kept = cluster.informers.informer(DAEMONSETS), cluster.informers.informer(CONTROLLERREVISIONS)
    await until(nodes, lambda: len(nodes.objects()) == 3)
    taint = {"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoExecute"}]}}
    await cluster.client.patch(NODES, "n3", taint, kind=STRATEGIC_MERGE_PATCH)
    await cluster.client.create(DAEMONSETS, workload("DaemonSet", "agent"))
    done = await until(sets, lambda: _daemons(sets.get("agent", "default"), 2))
    assert done["status"]["numberMisscheduled"] == 0
    assert sorted(pod["spec"]["nodeName"] for pod in pods.objects("default")) == ["n1", "n2"]
    tolerated = {(t["key"], t["effect"]) for t in pods.objects("default")[0]["spec"]["tolerations"]}
    assert ("node.kubernetes.io/unschedulable", "NoSchedule") in tolerated
    await cluster.client.patch(NODES, "n3", {"spec": {"taints": None}})
    await until(sets, lambda: _daemons(sets.get("agent", "default"), 3))
    await kubectl(cluster, "set", "image", "ds/agent", "c=busybox:2")
    assert "successfully rolled out" in await kubectl(cluster, "rollout", "status", "ds/agent", "--timeout=20s")
    assert {image(pod) for pod in pods.objects("default") if not is_deleting(pod)} == {"busybox:2"}
    await until(kept, lambda: len([r for r in kept.objects("default") if labels_of(r)["app"] == "agent"]) == 2)
    surge = {"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}}
    await cluster.client.patch(DAEMONSETS, "agent", surge, "default")
    assert "rolled back" in await kubectl(cluster, "rollout", "undo", "ds/agent")
    assert "successfully rolled out" in await kubectl(cluster, "rollout", "status", "ds/agent", "--timeout=20s")
    await until(pods, lambda: [image(pod) for pod in pods.objects("default")] == ["busybox:1"] * 3)
    failed = pods.objects("default")[0]
    status = {"status": {"phase": "Failed"}}
    await cluster.client.patch(PODS, name_of(failed), status, "default", subresource="status")
    await until(pods, lambda: pods.get(name_of(failed), "default") is None)
    await until(sets, lambda: _daemons(sets.get("agent", "default"), 3))
    own = {"metadata": {"ownerReferences": pods.objects("default")[0]["metadata"]["ownerReferences"]}}
    before, newest = {_uid(p) for p in pods.objects("default")}, max(kept.objects("default"), key=number_of)
    labels = {**labels_of(newest), HASH_LABEL: "twin"}
    meta = {"name": "agent-twin", "namespace": "default", "labels": labels, **own["metadata"]}
    twin = {**newest, "metadata": meta, "revision": number_of(newest) + 1}
    await cluster.client.create(CONTROLLERREVISIONS, twin)
    await until(kept, lambda: kept.get(name_of(newest), "default") is None)
    await until(pods, lambda: {labels_of(p)[HASH_LABEL] for p in pods.objects("default")} == {"twin"})
    assert {_uid(p) for p in pods.objects("default")} == before
    await cluster.client.delete(DAEMONSETS, "agent", "default", propagation="Foreground")
    await until(pods, lambda: not pods.objects("default"))


def _daemons(obj: Object | None, count: int) -> Object | None:
    status = (obj or {}).get("status") or {}
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberAvailable", "updatedNumberScheduled")
    return obj if all(status.get(n) == count for n in names) else None
