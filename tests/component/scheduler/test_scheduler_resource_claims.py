"""A pod that wants devices: it waits for its claim, goes where the devices are, and gets them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
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
from support.hollow import HollowCluster, hollow_cluster, until

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


@contextlib.asynccontextmanager
async def scheduling(path: Path) -> AsyncIterator[HollowCluster]:
    """A cluster with a scheduler that soon tries again, and the node b that has two devices of the class gpu."""
    async with running_apiserver(path) as server, hollow_cluster(server.client, server.server.handle) as cluster:
        client = Client(InProcessTransport(cluster.handler, UserInfo("system:kube-scheduler", (AUTHENTICATED_GROUP,))))
        informers = Informers(client)
        quick = SchedulerConfig(Configuration(initial_backoff=0.05, max_backoff=0.2))
        cluster.start(informers, Scheduler(client, informers, SeriesRecorder(client, "default-scheduler", "h"), quick))
        nodes = cluster.informers.informer(NODES)
        cluster.node("b")
        await until(nodes, lambda: (nodes.get("b") or {}).get("status", {}).get("allocatable"), DEADLINE)
        await cluster.client.patch(NODES, "b", {"spec": {"taints": None}})
        spec = {"extendedResourceName": "example.com/gpu"}
        await cluster.client.create(CLASSES, {"metadata": {"name": "gpu"}, "spec": spec})
        yield cluster


async def test_scheduler_makes_claims_for_extended_resources(tmp_path: Path) -> None:
    async with scheduling(tmp_path) as cluster:
        await cluster.client.create(SLICES, SLICE)
        pods = cluster.informers.informer(PODS)
        amounts = {"example.com/gpu": "1"}
        asked = {"resources": {"limits": amounts, "requests": amounts}}
        spec = {"containers": [{"name": "c", "image": "busybox", **asked}]}
        for name in ("p", "q", "late"):
            meta = {"name": name, "namespace": "default"}
            await cluster.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
            if name != "late":
                await until(pods, lambda n=name: node_of(pods.get(n, "default")), DEADLINE)
        await until(pods, lambda: "1 cannot allocate all claims." in reason(pods.get("late", "default")), DEADLINE)
        pod = await cluster.client.get(PODS, "p", "default")
        told = pod["status"]["extendedResourceClaimStatus"]
        request = "container-0-request-0"
        assert told["requestMappings"] == [
            {"containerName": "c", "resourceName": "example.com/gpu", "requestName": request}
        ]
        claim = await cluster.client.get(CLAIMS, told["resourceClaimName"], "default")
        assert claim["metadata"]["generateName"] == "p-extended-resources-"
        assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
        assert claim["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]
        assert claim["status"]["reservedFor"][0]["name"] == "p"
        assert [r["request"] for r in claim["status"]["allocation"]["devices"]["results"]] == [request]
        found = await cluster.client.list(CLAIMS, "default")
        devices = {c["status"]["allocation"]["devices"]["results"][0]["device"] for c in found.items}
        assert devices == {"gpu-0", "gpu-1"} and len(found.items) == 2


async def test_claim_that_an_earlier_attempt_left_is_in_nobodys_way(tmp_path: Path) -> None:
    async with scheduling(tmp_path) as cluster:
        await cluster.client.create(SLICES, SLICE)
        pods, claims = cluster.informers.informer(PODS), cluster.informers.informer(CLAIMS)
        amounts = {"example.com/gpu": "1"}
        asked = {"resources": {"limits": amounts, "requests": amounts}}
        spec = {"containers": [{"name": "c", "image": "busybox", **asked}], "schedulingGates": [{"name": "a.b/c"}]}
        meta = {"name": "p", "namespace": "default"}
        made = await cluster.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"], "controller": True}
        note = {"resource.kubernetes.io/extended-resource-claim": "true"}
        left = {**CLAIM["metadata"], "name": "left", "ownerReferences": [owner], "annotations": note}
        await cluster.client.create(CLAIMS, {**CLAIM, "metadata": left})
        await until(claims, lambda: claims.get("left", "default"), DEADLINE)
        await cluster.client.patch(PODS, "p", {"spec": {"schedulingGates": None}}, "default")
        await until(pods, lambda: node_of(pods.get("p", "default")) == "b", DEADLINE)
        assert claims.get("left", "default") is None


async def test_pod_is_bound_when_its_device_is_ready(tmp_path: Path) -> None:
    async with scheduling(tmp_path) as cluster:
        named = {"bindingConditions": ["ready"], "bindingFailureConditions": ["broken"]}
        spec = {**SLICE["spec"], "devices": [{**d, **named} for d in SLICE["spec"]["devices"]]}
        await cluster.client.create(SLICES, {**SLICE, "spec": spec})
        await cluster.client.create(CLAIMS, CLAIM)
        await cluster.client.create(PODS, pod("p", "c"))
        pods, claims = cluster.informers.informer(PODS), cluster.informers.informer(CLAIMS)
        await until(claims, lambda: (claims.get("c", "default") or {}).get("status", {}).get("allocation"), DEADLINE)
        claim = await cluster.client.get(CLAIMS, "c", "default")
        result = claim["status"]["allocation"]["devices"]["results"][0]
        assert (result["bindingConditions"], result["bindingFailureConditions"]) == (["ready"], ["broken"])
        assert not node_of(pods.get("p", "default"))
        told = {"reason": "Why", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        device = {k: result[k] for k in ("driver", "pool", "device")}

        async def tell(**conditions: str) -> None:
            fresh = await cluster.client.get(CLAIMS, "c", "default")
            fresh["status"]["devices"] = [
                {**device, "conditions": [{"type": t, "status": s, **told} for t, s in conditions.items()]}
            ]
            await cluster.client.update_status(CLAIMS, fresh)

        await tell(broken="True")
        text = 'device binding failed: claim=c, reason=Why, message=""'
        await until(pods, lambda: text in reason(pods.get("p", "default")), DEADLINE)
        # The device is given back, and another one (or the same) is tried.
        await until(
            claims,
            lambda: (
                (claims.get("c", "default") or {}).get("status", {}).get("reservedFor")
                and not (claims.get("c", "default") or {})["status"].get("devices")
            ),
            DEADLINE,
        )
        result = (await cluster.client.get(CLAIMS, "c", "default"))["status"]["allocation"]["devices"]["results"][0]
        device = {k: result[k] for k in ("driver", "pool", "device")}
        await tell(ready="True")
        await until(pods, lambda: node_of(pods.get("p", "default")) == "b", DEADLINE)


def node_of(found: Object | None) -> str:
    return ((found or {}).get("spec") or {}).get("nodeName") or ""


def pod(name: str, claim: str) -> Object:
    container = {"name": "c", "image": "busybox", "resources": {"claims": [{"name": "d"}]}}
    spec = {"containers": [container], "resourceClaims": [{"name": "d", "resourceClaimName": claim}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def reason(found: Object | None) -> str:
    return (conditions.condition(found or {}, "PodScheduled") or {}).get("message") or ""
