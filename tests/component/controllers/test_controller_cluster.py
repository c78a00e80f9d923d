"""Namespaces, accounts, nodes, endpoints, garbage and jobs against the real API server."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.objects import Object, name_of
from kumo.api.resources import (
    CLUSTERROLES,
    CONFIGMAPS,
    CRDS,
    ENDPOINTS,
    ENDPOINTSLICES,
    GVR,
    NAMESPACES,
    NODES,
    PODS,
    SERVICEACCOUNTS,
    SERVICES,
)
from kumo.machinery.client import STRATEGIC_MERGE_PATCH
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
JOBS = GVR("batch", "v1", "jobs")


def pod(name: str, namespace: str = "default", *, image: str = "busybox", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
        "spec": {
            "containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 80}]}],
            **spec,
        },
    }


def configmap(name: str, *owners: dict[str, Any], namespace: str = "default") -> Object:
    meta = {"name": name, "namespace": namespace, "ownerReferences": list(owners)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


def _spec(obj: Object | None) -> dict[str, Any]:
    return (obj or {}).get("spec") or {}


async def test_controller_namespace_is_furnished_and_emptied(cluster: HollowCluster) -> None:
    cluster.node("n1")
    await cluster.ensure_namespace("team")
    accounts, maps = cluster.informers.informer(SERVICEACCOUNTS), cluster.informers.informer(CONFIGMAPS)
    await until(accounts, lambda: accounts.get("default", "team"))
    found = await until(maps, lambda: maps.get("kube-root-ca.crt", "team"))
    assert found["data"] == {"ca.crt": "a certificate\n"}
    await cluster.client.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "wrong"}}, "team")
    await until(maps, lambda: (maps.get("kube-root-ca.crt", "team") or {}).get("data") == {"ca.crt": "a certificate\n"})
    await cluster.client.create(PODS, pod("p", "team"))
    held = configmap("held", namespace="team")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await cluster.client.create(CONFIGMAPS, held)
    namespaces = cluster.informers.informer(NAMESPACES)
    await cluster.client.delete(NAMESPACES, "team")

    def remaining() -> str:
        condition = conditions.condition(namespaces.get("team") or {}, "NamespaceFinalizersRemaining")
        return str((condition or {}).get("message", ""))

    expected = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    await until(namespaces, lambda: remaining() == expected)
    await cluster.client.patch(CONFIGMAPS, "held", {"metadata": {"finalizers": None}}, "team")
    await until(namespaces, lambda: namespaces.get("team") is None)


async def test_controller_garbage_collector_cuts_or_deletes(cluster: HollowCluster) -> None:
    maps = cluster.informers.informer(CONFIGMAPS)
    made = [await cluster.client.create(CONFIGMAPS, configmap(n)) for n in ("one", "two")]
    one, two = (
        {"apiVersion": "v1", "kind": "ConfigMap", "name": name_of(o), "uid": o["metadata"]["uid"]} for o in made
    )
    gone = {**one, "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}
    await cluster.client.create(CONFIGMAPS, configmap("both", one, two))
    await cluster.client.create(CONFIGMAPS, configmap("single", one))
    await cluster.client.create(CONFIGMAPS, configmap("stale", gone))
    await until(maps, lambda: maps.get("stale", "default") is None)
    await cluster.client.delete(CONFIGMAPS, "one", "default")
    await until(maps, lambda: maps.get("single", "default") is None)

    def owners() -> list[str]:
        references = (maps.get("both", "default") or {"metadata": {}})["metadata"].get("ownerReferences") or []
        return [r["name"] for r in references]

    await until(maps, lambda: owners() == ["two"])


async def test_controller_garbage_collector_learns_of_custom_kinds(cluster: HollowCluster) -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boxes.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "boxes", "singular": "box", "kind": "Box", "listKind": "BoxList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    definitions = cluster.informers.informer(CRDS)
    await cluster.client.create(CRDS, definition)
    await until(definitions, lambda: any(conditions.is_true(d, "Established") for d in definitions.objects()))
    boxes = GVR("example.com", "v1", "boxes")
    body = {"apiVersion": "example.com/v1", "kind": "Box", "metadata": {"name": "b", "namespace": "default"}}
    box = await cluster.client.create(boxes, body)
    reference = {"apiVersion": "example.com/v1", "kind": "Box", "name": "b", "uid": box["metadata"]["uid"]}
    await cluster.client.create(CONFIGMAPS, configmap("inside", reference))
    owner = await cluster.client.create(CONFIGMAPS, configmap("outside"))
    outside = {"apiVersion": "v1", "kind": "ConfigMap", "name": "outside", "uid": owner["metadata"]["uid"]}
    body["metadata"] = {"name": "c", "namespace": "default", "ownerReferences": [outside]}  # type: ignore[dict-item]
    await cluster.client.create(boxes, body)
    maps, customs = cluster.informers.informer(CONFIGMAPS), cluster.informers.informer(boxes)
    await until(customs, lambda: len(customs.objects()) == 2)
    await cluster.client.delete(boxes, "b", "default")
    await until(maps, lambda: maps.get("inside", "default") is None)
    await cluster.client.delete(CONFIGMAPS, "outside", "default")
    await until(customs, lambda: not customs.objects())


async def test_controller_node_that_falls_silent_is_tainted_and_emptied(cluster: HollowCluster) -> None:
    first = cluster.node("n1")
    nodes, pods = cluster.informers.informer(NODES), cluster.informers.informer(PODS)
    await until(nodes, lambda: _spec(nodes.get("n1")).get("podCIDR"))
    leaving = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    await cluster.client.create(PODS, pod("short", tolerations=[{**leaving, "tolerationSeconds": 1}]))
    await cluster.client.create(PODS, pod("stays", tolerations=[leaving]))
    await until(pods, lambda: sum(conditions.is_true(p, "Ready") for p in pods.objects("default")) == 2)
    cluster.node("n2")
    await until(nodes, lambda: _spec(nodes.get("n2")).get("podCIDR"))
    assert {n["spec"]["podCIDR"] for n in nodes.objects()} == {"10.244.0.0/24", "10.244.1.0/24"}
    first.fall_silent()

    def taints() -> set[tuple[str, str]]:
        found = _spec(nodes.get("n1")).get("taints") or []
        return {(t["key"], t["effect"]) for t in found}

    unreachable = "node.kubernetes.io/unreachable"
    await until(nodes, lambda: taints() == {(unreachable, "NoSchedule"), (unreachable, "NoExecute")})
    ready = conditions.condition(nodes.get("n1") or {}, "Ready") or {}
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    await until(pods, lambda: (pods.get("short", "default") or {})["metadata"].get("deletionTimestamp"))
    staying = pods.get("stays", "default") or {}
    assert not staying["metadata"].get("deletionTimestamp")
    assert not conditions.is_true(staying, "Ready")
    await cluster.client.delete(NODES, "n1")
    await until(pods, lambda: not pods.objects("default"))


async def test_controller_node_alone_and_silent_keeps_its_pods(cluster: HollowCluster) -> None:
    only = cluster.node("n1")
    nodes, pods = cluster.informers.informer(NODES), cluster.informers.informer(PODS)
    await cluster.client.create(PODS, pod("p"))
    await until(pods, lambda: conditions.is_true(pods.get("p", "default") or {}, "Ready"))
    only.fall_silent()
    await until(nodes, lambda: bool(_spec(nodes.get("n1")).get("taints")))
    taints = _spec(nodes.get("n1"))["taints"]
    assert [t["effect"] for t in taints] == ["NoSchedule"]


async def test_controller_cluster_roles_gather_what_they_select(cluster: HollowCluster) -> None:
    roles = cluster.informers.informer(CLUSTERROLES)
    rule = {"apiGroups": ["example.com"], "resources": ["boxes"], "verbs": ["get"]}
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    meta = {"name": "boxes-viewer", "labels": label}
    body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": [rule]}
    await cluster.client.create(CLUSTERROLES, body)
    # view is selected by edit, and edit by admin: the rule travels up.
    await until(roles, lambda: rule in ((roles.get("admin") or {}).get("rules") or []))
    await cluster.client.delete(CLUSTERROLES, "boxes-viewer")
    await until(roles, lambda: rule not in ((roles.get("admin") or {}).get("rules") or []))


async def test_controller_endpoints_follow_pods(cluster: HollowCluster) -> None:
    cluster.node("n1")
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    meta = {"name": "web", "namespace": "default"}
    await cluster.client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    slices, endpoints = cluster.informers.informer(ENDPOINTSLICES), cluster.informers.informer(ENDPOINTS)

    def ready() -> list[bool] | None:
        found = slices.objects("default", {"kubernetes.io/service-name": "web"})
        return [e["conditions"]["ready"] for s in found for e in s.get("endpoints") or ()] if found else None

    await until(slices, lambda: ready() == [])
    await cluster.client.create(PODS, pod("a"))
    await cluster.client.create(PODS, pod("b", image="never"))
    await until(slices, lambda: sorted(ready() or []) == [False, True])
    (subset,) = await until(endpoints, lambda: _subsets(endpoints.get("web", "default"), 2))
    assert (len(subset["addresses"]), len(subset["notReadyAddresses"])) == (1, 1)
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]
    await cluster.client.delete(SERVICES, "web", "default")
    await until(slices, lambda: ready() is None)
    await until(endpoints, lambda: endpoints.get("web", "default") is None)


def _subsets(obj: Object | None, count: int) -> list[Any]:
    found = (obj or {}).get("subsets") or []
    total = sum(len(s.get("addresses") or ()) + len(s.get("notReadyAddresses") or ()) for s in found)
    return found if total == count else []


async def test_controller_job_completes_and_expires(cluster: HollowCluster) -> None:
    cluster.node("n1")
    jobs, pods = cluster.informers.informer(JOBS), cluster.informers.informer(PODS)
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
    spec = {"completions": 2, "parallelism": 2, "template": template}
    meta = {"name": "j", "namespace": "default"}
    await cluster.client.create(JOBS, {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})
    await until(pods, lambda: sum(conditions.is_true(p, "Ready") for p in pods.objects("default")) == 2)
    for running in pods.objects("default"):
        await cluster.client.patch(
            PODS,
            name_of(running),
            {"status": {"phase": "Succeeded"}},
            "default",
            kind=STRATEGIC_MERGE_PATCH,
            subresource="status",
        )
    done = await until(jobs, lambda: _complete(jobs.get("j", "default")))
    assert done["status"]["succeeded"] == 2
    assert (conditions.condition(done, "Complete") or {})["reason"] == "CompletionsReached"
    await cluster.client.patch(JOBS, "j", {"spec": {"ttlSecondsAfterFinished": 0}}, "default")
    await until(jobs, lambda: jobs.get("j", "default") is None)
    await until(pods, lambda: not pods.objects("default"))


def _complete(obj: Object | None) -> Object | None:
    return obj if obj is not None and conditions.is_true(obj, "Complete") else None
