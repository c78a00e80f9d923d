"""A pod that wants devices: it waits for its claim, goes where the devices are, and gets them."""

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
CLASSES = GVR("resource.k8s.io", "v1", "deviceclasses", False)
SLICES = GVR("resource.k8s.io", "v1", "resourceslices", False)
CHOICE = 'device.driver == "gpu.example.com" && device.attributes["gpu.example.com"].large'
SLICE: Object = {
    "metadata": {"name": "slice"},
    "spec": {
        "driver": "gpu.example.com",
        "nodeName": "b",
        "pool": {"name": "b", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": f"gpu-{i}", "attributes": {"large": {"bool": bool(i)}}} for i in range(2)],
    },
}
CLAIM: Object = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaim",
    "metadata": {"name": "c", "namespace": "default"},
    "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
}


def selector(expression: str) -> Object:
    return {"cel": {"expression": expression}}


async def test_scheduler_pods_get_devices(tmp_path: Path) -> None:
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
        await cluster.client.create(PODS, pod("p", "c"))
        await cluster.client.create(CLAIMS, CLAIM)
        found = await until(
            pods, lambda: conditions.condition(pods.get("p", "default") or {}, "PodScheduled"), DEADLINE
        )
        assert found is not None and found["message"].startswith(
            "0/2 nodes are available: request r: device class gpu does not exist. no new claims to deallocate, preem"
        )
        await cluster.client.create(CLASSES, {"metadata": {"name": "gpu"}, "spec": {"selectors": [selector(CHOICE)]}})
        await until(pods, lambda: "2 cannot allocate all claims." in reason(pods.get("p", "default")), DEADLINE)
        await cluster.client.create(SLICES, SLICE)
        await until(pods, lambda: (pods.get("p", "default") or {})["spec"].get("nodeName") == "b", DEADLINE)
        claim = await cluster.client.get(CLAIMS, "c", "default")
        uid = (pods.get("p", "default") or {})["metadata"]["uid"]
        assert claim["status"]["reservedFor"] == [{"resource": "pods", "name": "p", "uid": uid}]
        assert claim["metadata"]["finalizers"] == ["resource.kubernetes.io/delete-protection"]
        field = {"key": "metadata.name", "operator": "In", "values": ["b"]}
        device = {"request": "r", "driver": "gpu.example.com", "pool": "b", "device": "gpu-1"}
        allocation = claim["status"]["allocation"]
        assert allocation.pop("allocationTimestamp")
        assert allocation == {
            "devices": {"results": [device]},
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]},
        }

        # Another pod of the same claim goes to the same node; a claim that wants as much waits until it is given back.
        await cluster.client.create(CLAIMS, {**CLAIM, "metadata": {"name": "d", "namespace": "default"}})
        await cluster.client.create(PODS, pod("same", "c"))
        await cluster.client.create(PODS, pod("other", "d"))
        await until(pods, lambda: (pods.get("same", "default") or {})["spec"].get("nodeName") == "b", DEADLINE)
        await until(pods, lambda: "2 cannot allocate all claims." in reason(pods.get("other", "default")), DEADLINE)
        held = await cluster.client.get(CLAIMS, "c", "default")
        held["status"] = {}
        await cluster.client.update_status(CLAIMS, held)
        await until(pods, lambda: (pods.get("other", "default") or {})["spec"].get("nodeName") == "b", DEADLINE)


def pod(name: str, claim: str) -> Object:
    container = {"name": "c", "image": "busybox", "resources": {"claims": [{"name": "d"}]}}
    spec = {"containers": [container], "resourceClaims": [{"name": "d", "resourceClaimName": claim}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def reason(found: Object | None) -> str:
    return (conditions.condition(found or {}, "PodScheduled") or {}).get("message") or ""
