"""What brings a pod that waits back into the queue: each sort of obstacle, and the change that takes it away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.objects import Object
from kumo.api.resources import NODES, PODS, core
from kumo.kubernetes.scheduler import Configuration, Scheduler, SchedulerConfig
from kumo.machinery.client import Client
from kumo.machinery.event_series import SeriesRecorder
from support.apiserver import running_apiserver
from support.hollow import HollowCluster, hollow_cluster, until

pytestmark = pytest.mark.component
DEADLINE = 60.0
CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
Deed = Callable[[Client], Awaitable[Any]]


def pod(name: str, cpu: str = "", *, labels: Any = None, **spec: Any) -> Object:
    container: dict[str, Any] = {"name": "c", "image": "busybox", **spec.pop("container", {})}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    meta = {"name": name, "namespace": "default", "labels": labels or {}}
    body = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}


def create(*pods: Object) -> Deed:
    async def deed(client: Client) -> None:
        for made in pods:
            await client.create(PODS, made)

    return deed


def gone(name: str) -> Deed:
    return lambda client: client.delete(PODS, name, "default", grace_period=0)


def node(**patch: Any) -> Deed:
    return lambda client: client.patch(NODES, "n", patch)


def change(name: str, **patch: Any) -> Deed:
    return lambda client: client.patch(PODS, name, patch, "default")


async def nothing(client: Client) -> None:
    """The cluster as it is stands in the way."""


async def grow(client: Client) -> None:
    status = {"allocatable": {"cpu": "9"}, "capacity": {"cpu": "9"}}
    await client.patch(NODES, "n", {"status": status}, subresource="status")


async def bind_claim(client: Client) -> None:
    """A claim and its volume, bound to each other as the controller would."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
    meta = {"name": "c", "namespace": "default", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    claim: Object = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta}
    volume: Object = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}}
    volume["spec"] = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
    await client.create(VOLUMES, volume)
    await client.create(CLAIMS, {**claim, "spec": {**spec, "volumeName": "v"}})


def apart(kind: str) -> dict[str, Any]:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "w"}}}
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


W = {"app": "w"}
TAINT = {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": W},
}
PORT = {"container": {"ports": [{"containerPort": 80, "hostPort": 80}]}}
CLAIM = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}
CASES: dict[str, tuple[Deed, Object, Deed]] = {
    "a pod leaves": (create(pod("x", "3")), pod("p", "3"), gone("x")),
    "the node grows": (nothing, pod("p", "8"), grow),
    "a taint goes": (node(**TAINT), pod("p"), node(spec={"taints": None})),
    "a toleration comes": (
        node(**TAINT),
        pod("p"),
        change("p", spec={"tolerations": [{"key": "k", "operator": "Exists"}]}),
    ),
    "uncordoned": (node(spec={"unschedulable": True}), pod("p"), node(spec={"unschedulable": None})),
    "a label comes": (nothing, pod("p", nodeSelector={"a": "b"}), node(metadata={"labels": {"a": "b"}})),
    "a port is free": (create(pod("x", **PORT)), pod("p", **PORT), gone("x")),
    "an unwanted neighbour leaves": (create(pod("x", labels=W)), pod("p", **apart("podAntiAffinity")), gone("x")),
    "a neighbour is no longer meant": (
        create(pod("x", labels=W)),
        pod("p", **apart("podAntiAffinity")),
        change("x", metadata={"labels": {"app": None}}),
    ),
    "the one who keeps others away leaves": (
        create(pod("x", **apart("podAntiAffinity"))),
        pod("p", labels=W),
        gone("x"),
    ),
    "a neighbour comes": (nothing, pod("p", **apart("podAffinity")), create(pod("x", labels=W))),
    "the node gets a domain": (
        nothing,
        pod("p", labels=W, topologySpreadConstraints=[SPREAD]),
        node(metadata={"labels": {"zone": "z"}}),
    ),
    "a claim comes": (nothing, pod("p", **CLAIM), bind_claim),
    "a gate opens": (
        nothing,
        pod("p", schedulingGates=[{"name": "example.com/g"}]),
        change("p", spec={"schedulingGates": None}),
    ),
}


async def start(cluster: HollowCluster) -> None:
    """One node and a scheduler that does not wait long."""
    quick = SchedulerConfig(Configuration(initial_backoff=0.05, max_backoff=0.2))
    recorder = SeriesRecorder(cluster.client, "default-scheduler", "host")
    cluster.start(Scheduler(cluster.client, cluster.informers, recorder, quick))
    cluster.node("n", cpu="4")
    nodes = cluster.informers.informer(NODES)
    await until(nodes, lambda: bool((nodes.get("n") or {}).get("status", {}).get("allocatable")), DEADLINE)
    await cluster.client.patch(NODES, "n", {"spec": {"taints": None}})


async def _one(cluster: HollowCluster, title: str) -> None:
    before, wanted, deed = CASES[title]
    pods = cluster.informers.informer(PODS)

    def find(name: str) -> Object:
        return pods.get(name, "default") or {}

    await before(cluster.client)
    nodes = cluster.informers.informer(NODES)
    seen = (await cluster.client.get(NODES, "n"))["metadata"]["resourceVersion"]
    await until(
        nodes, lambda: (nodes.get("n") or {"metadata": {}})["metadata"].get("resourceVersion") == seen, DEADLINE
    )
    if "x" in {p["metadata"]["name"] for p in (await cluster.client.list(PODS, "default")).items}:
        await until(pods, lambda: find("x").get("spec", {}).get("nodeName"), DEADLINE)
    await cluster.client.create(PODS, wanted)
    await until(
        pods, lambda: (conditions.condition(find("p"), "PodScheduled") or {}).get("status") == "False", DEADLINE
    )
    await deed(cluster.client)
    await until(pods, lambda: find("p").get("spec", {}).get("nodeName") == "n", DEADLINE)


@pytest.mark.parametrize("titles", [list(CASES)[::2], list(CASES)[1::2]], ids=["even", "odd"])
async def test_scheduler_tries_again_when(tmp_path: Path, titles: list[str]) -> None:
    for number, title in enumerate(titles):
        directory = tmp_path / str(number)
        directory.mkdir()
        async with (
            running_apiserver(directory) as server,
            hollow_cluster(server.client, server.server.handle) as cluster,
        ):
            await start(cluster)
            try:
                await _one(cluster, title)
            except AssertionError as error:
                raise AssertionError(f"{title}: {error}") from error
