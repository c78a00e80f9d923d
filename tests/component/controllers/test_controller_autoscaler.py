"""Autoscalers under their own rights, over the API: resource and external metrics, custom resources, events, status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kumo.api.objects import Object, timestamp
from kumo.api.resources import EVENTS, GVR, NODES, PODS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo, service_account_user
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.config import AutoscalerConfig
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.controller import (
    AUTOSCALERS,
    HorizontalPodAutoscalerController,
)
from kumo.kubernetes.controller_manager.monitor import ResourceMonitor
from kumo.kubernetes.metrics_server import MetricsServer, MetricsServerConfig
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.extension import ApiGroup
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.informer import Informers
from kumo.machinery.transport import InProcessTransport
from support.apiserver import running_apiserver
from support.hollow import HollowCluster, hollow_cluster, until

pytestmark = pytest.mark.component
THINGS = GVR("example.dev", "v1", "things")
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions", False)
_STATE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}
DEFINITION: Object = {
    "metadata": {"name": "things.example.dev"},
    "spec": {
        "group": "example.dev",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": _STATE, "status": _STATE}}},
                "subresources": {"status": {}, "scale": _SCALE},
            }
        ],
    },
}


class Kubelet:
    """A node's page of resources: each pod has used `milli` thousandths of a processor since the last question."""

    def __init__(self) -> None:
        self.milli = 500
        self.flood = False
        self.pods: list[str] = []
        self._spent = 0.0
        self._at = 1_800_000_000.0

    @asynccontextmanager
    async def stream(self, method: str, path: str) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        assert (method, path) == ("GET", "/metrics/resource")
        self._at += 1.0
        self._spent += self.milli / 1000
        when = int(self._at * 1000)
        lines = [f"node_cpu_usage_seconds_total {self._spent} {when}", "node_memory_working_set_bytes 9"]
        for pod in self.pods:
            labels = f'container="main",pod="{pod}",namespace="default"'
            lines.append(f"container_cpu_usage_seconds_total{{{labels}}} {self._spent} {when}")
            lines.append(f"container_memory_working_set_bytes{{{labels}}} 1048576")

        async def chunks() -> AsyncIterator[bytes]:
            if self.flood:
                while True:
                    yield b"#" * (1 << 20)
            yield "\n".join(lines).encode()

        yield 200, chunks()

    async def close(self) -> None:
        return None


async def _queue(request: Request) -> Answer:
    """external.metrics.k8s.io with one metric."""
    if not request.path.endswith("/queue"):
        status = {"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no such metric"}
        return Response(404, msgspec.json.encode(status))
    item = {"metricName": "queue", "metricLabels": {}, "timestamp": timestamp(), "value": "30"}
    body = {"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "items": [item]}
    return Response(200, msgspec.json.encode(body))


@pytest.fixture
async def elastic(tmp_path: Path) -> AsyncIterator[tuple[HollowCluster, Kubelet]]:
    """An API server with metrics, a node with a kubelet, the autoscaler as its own user, three quick pods."""
    kubelet = Kubelet()
    late = Informers(Client(InProcessTransport(_nowhere)))
    config = MetricsServerConfig(resolution=0.1, seldom=1)
    metrics = MetricsServer(late, lambda url: kubelet, config)  # type: ignore[arg-type, return-value]
    external = ApiGroup("external.metrics.k8s.io", ("v1beta1",), _queue)
    async with (
        running_apiserver(tmp_path, groups=[*metrics.groups, external]) as server,
        hollow_cluster(server.client, server.server.handle) as cluster,
    ):
        late.client = server.client

        def client_for(user: UserInfo) -> Client:
            return Client(InProcessTransport(cluster.handler, user))

        manager = Informers(client_for(UserInfo("system:kube-controller-manager", (AUTHENTICATED_GROUP,))))
        monitor = ResourceMonitor(client_for(service_account_user("kube-system", "generic-garbage-collector")), manager)
        own = client_for(service_account_user("kube-system", "horizontal-pod-autoscaler"))
        quick = AutoscalerConfig(sync_period=0.1)
        await server.client.create(CRDS, DEFINITION)
        await _node(server.client)
        for number in range(2):
            kubelet.pods.append(await _pod(server.client, f"p{number}"))
        autoscaler = HorizontalPodAutoscalerController(own, manager, monitor, quick)
        cluster.start(late, metrics, manager, monitor, autoscaler)
        yield cluster, kubelet


async def _nowhere(request: Request) -> Answer:
    raise AssertionError(f"nobody is asked for {request.path}")


async def _node(client: Client) -> None:
    await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.9"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    await client.patch(NODES, "n1", {"status": status}, kind=STRATEGIC_MERGE_PATCH, subresource="status")


async def _pod(client: Client, name: str) -> str:
    container = {"name": "main", "image": "x", "resources": {"requests": {"cpu": "250m"}}}
    spec = {"nodeName": "n1", "containers": [container]}
    meta = {"name": name, "namespace": "default", "labels": {"app": "w"}}
    await client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(1_000_000.0)}
    status = {"phase": "Running", "startTime": timestamp(999_000.0), "conditions": [ready]}
    await client.patch(PODS, name, {"status": status}, "default", kind=STRATEGIC_MERGE_PATCH, subresource="status")
    return name


async def thing(client: Client, name: str, replicas: int) -> None:
    meta = {"name": name, "namespace": "default"}
    made = await client.create(THINGS, {"metadata": meta, "spec": {"replicas": replicas}})
    await client.update_status(THINGS, {**made, "status": {"replicas": replicas, "selector": "app=w"}})


def scaler(target: str, *metrics: Object, most: int = 10, **spec: Any) -> Object:
    reference = {"apiVersion": "example.dev/v1", "kind": "Thing", "name": target}
    whole = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": most, "metrics": list(metrics), **spec}
    return {"metadata": {"name": target, "namespace": "default"}, "spec": whole}


CPU: Object = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 100}},
}


def external(name: str) -> Object:
    return {"type": "External", "external": {"metric": {"name": name}, "target": {"type": "Value", "value": "10"}}}


async def test_a_custom_resource_follows_its_metrics(elastic: tuple[HollowCluster, Kubelet]) -> None:
    cluster, kubelet = elastic
    client = cluster.client
    things, autoscalers = cluster.informers.informer(THINGS), cluster.informers.informer(AUTOSCALERS)
    await thing(client, "work", 2)
    down = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    await client.create(AUTOSCALERS, scaler("work", CPU, behavior=down))

    def size() -> int:
        return int((things.get("work", "default") or {}).get("spec", {}).get("replicas", 0))

    await until(things, lambda: size() == 4, 30)  # two pods, each at 200 % of what it asks for
    kubelet.milli = 125
    await until(things, lambda: size() == 1, 30)

    def told() -> Any:
        status = (autoscalers.get("work", "default") or {}).get("status") or {}
        return status if status.get("currentReplicas") == 1 else None

    status = await until(autoscalers, told, 30)
    assert status["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 50
    said = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert said["AbleToScale"][0] == "True" and said["ScalingActive"] == ("True", "ValidMetricFound")
    found = {e["message"] for e in (await client.list(EVENTS, "default")).items if e["reason"] == "SuccessfulRescale"}
    assert "New size: 1; reason: All metrics below target" in found


async def test_external_metrics_and_those_that_are_not_there(elastic: tuple[HollowCluster, Kubelet]) -> None:
    cluster, _ = elastic
    client = cluster.client
    things, autoscalers = cluster.informers.informer(THINGS), cluster.informers.informer(AUTOSCALERS)
    await thing(client, "queue", 2)
    await thing(client, "lost", 2)
    await client.create(AUTOSCALERS, scaler("queue", external("queue"), most=5))
    found = await until(
        things, lambda: (things.get("queue", "default") or {}).get("spec") == {"replicas": 5} or None, 30
    )
    assert found
    # A second autoscaler of the same pods is one too many; with the first gone it says what it lacks.
    await client.create(AUTOSCALERS, scaler("lost", external("nothing")))

    def reason() -> str:
        conditions = ((autoscalers.get("lost", "default") or {}).get("status") or {}).get("conditions") or []
        return next((str(c["reason"]) for c in conditions if c["type"] == "ScalingActive"), "")

    await until(autoscalers, lambda: reason() == "AmbiguousSelector", 30)
    await client.delete(AUTOSCALERS, "queue", "default")
    await until(autoscalers, lambda: reason() == "FailedGetExternalMetric", 30)


async def test_a_node_that_floods_is_not_listened_to(elastic: tuple[HollowCluster, Kubelet]) -> None:
    cluster, kubelet = elastic
    path = "/apis/metrics.k8s.io/v1beta1/nodes"

    async def told(wanted: int) -> None:
        async with asyncio.timeout(30):
            while len((await cluster.client.request("GET", path))["items"]) != wanted:
                await asyncio.sleep(0.05)

    await told(1)
    kubelet.flood = True
    await told(0)
    kubelet.flood = False
    await told(1)
