"""A pod that wants devices: it waits for its claim, follows the claim's allocation, and is written into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumo.api import conditions
from kumo.api.objects import Object
from kumo.api.resources import GVR, NODES, PODS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.scheduler import Configuration, Scheduler, SchedulerConfig
from kumo.machinery.client import Client
from kumo.machinery.event_series import SeriesRecorder
from kumo.machinery.informer import Informers
from kumo.machinery.transport import InProcessTransport
from support.apiserver import running_apiserver
from support.hollow import hollow_cluster, until

pytestmark = pytest.mark.component
DEADLINE = 60.0
CLAIMS = GVR("resource.k8s.io", "v1", "resourceclaims")
CLAIM: Object = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaim",
    "metadata": {"name": "c", "namespace": "default"},
    "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
}


async def test_scheduler_pod_follows_its_claim(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server, hollow_cluster(server.client, server.server.handle) as cluster:
        user = UserInfo("system:kube-scheduler", (AUTHENTICATED_GROUP,))
        client = Client(InProcessTransport(cluster.handler, user))
        informers = Informers(client)
        quick = SchedulerConfig(Configuration(initial_backoff=0.05, max_backoff=0.2))
        scheduler = Scheduler(client, informers, SeriesRecorder(client, "default-scheduler", "host"), quick)
        cluster.start(informers, scheduler)
        nodes, pods = cluster.informers.informer(NODES), cluster.informers.informer(PODS)
        for name in ("a", "b"):
            cluster.node(name)
            await until(nodes, lambda n=name: (nodes.get(n) or {}).get("status", {}).get("allocatable"), DEADLINE)
            await cluster.client.patch(NODES, name, {"spec": {"taints": None}})
        container = {"name": "c", "image": "busybox", "resources": {"claims": [{"name": "d"}]}}
        spec = {"containers": [container], "resourceClaims": [{"name": "d", "resourceClaimName": "c"}]}
        meta = {"name": "p", "namespace": "default"}
        await cluster.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

        made = await cluster.client.create(CLAIMS, CLAIM)
        found = await until(
            pods, lambda: conditions.condition(pods.get("p", "default") or {}, "PodScheduled"), DEADLINE
        )
        assert found is not None and found["message"].startswith(
            "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: 0/2 nodes"
        )
        field = {"key": "metadata.name", "operator": "In", "values": ["b"]}
        device = {"request": "r", "driver": "gpu.example.com", "pool": "b", "device": "gpu-0"}
        selector = {"nodeSelectorTerms": [{"matchFields": [field]}]}
        made["status"] = {"allocation": {"devices": {"results": [device]}, "nodeSelector": selector}}
        await cluster.client.update_status(CLAIMS, made)
        await until(pods, lambda: (pods.get("p", "default") or {})["spec"].get("nodeName") == "b", DEADLINE)
        holder = (await cluster.client.get(CLAIMS, "c", "default"))["status"]["reservedFor"]
        uid = (pods.get("p", "default") or {})["metadata"]["uid"]
        assert holder == [{"resource": "pods", "name": "p", "uid": uid}]
