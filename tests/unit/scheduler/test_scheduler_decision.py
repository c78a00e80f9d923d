"""The scheduler's decision, by tables: a pod and nodes in, a node or upstream's message out."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.decision import best, look
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.preemption import preempt
from kumo.kubernetes.scheduler.profile import default_profile
from kumo.kubernetes.scheduler.world import Volumes, World

pytestmark = pytest.mark.unit
PROFILE = default_profile()


def node(name: str, *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", labels: Any = None, **spec: Any) -> Any:
    return {
        "metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
    }


def pod(name: str, *, on: str = "", cpu: str = "", labels: Any = None, owner: str = "", **spec: Any) -> Any:
    container: dict[str, Any] = {"name": "c", "image": spec.pop("image", "busybox")}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    if "ports" in spec:
        container["ports"] = spec.pop("ports")
    meta: dict[str, Any] = {"name": name, "namespace": "default", "uid": name, "labels": labels or {}}
    if owner:
        meta["ownerReferences"] = [{"uid": owner, "controller": True, "kind": "ReplicaSet", "name": owner}]
    made = {"metadata": meta, "spec": {"containers": [container], **spec}}
    if on:
        made["spec"]["nodeName"] = on
    return made


def world(nodes: list[Any], pods: Sequence[Any] = (), **more: Any) -> World:
    cache = Cache()
    for n in nodes:
        cache.set_node(n)
    for p in pods:
        cache.set_pod(p)
    return World(cache, **more)


def verdict(wanted: Any, seen: World) -> str:
    found = look(PodInfo.of(wanted), seen, PROFILE)
    return best(found, PROFILE, Random(1)) if found.feasible else found.message()


ZONED = [node("a", labels={"zone": "x"}), node("b", labels={"zone": "x"}), node("c", labels={"zone": "y"})]


def affinity(kind: str, key: str, **labels: str) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": key}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def node_affinity(*values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": list(values)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


@pytest.mark.parametrize(
    ("wanted", "nodes", "pods", "expected"),
    [
        (pod("p"), [node("a")], [], "a"),
        (pod("p"), [], [], "no nodes available to schedule pods"),
        (pod("p", cpu="3"), [node("a"), node("b")], [pod("x", on="a", cpu="2")], "b"),
        (
            pod("p", cpu="3"),
            [node("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]), node("b", cpu="2"), node("c")],
            [pod("x", on="c", cpu="2")],
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.",
        ),
        (pod("p"), [node("a", pods="1")], [pod("x", on="a")], "0/1 nodes are available: 1 Too many pods."),
        (pod("p"), [node("a", unschedulable=True)], [], "0/1 nodes are available: 1 node(s) were unschedulable."),
        (pod("p", nodeSelector={"zone": "y"}), ZONED, [], "c"),
        (
            pod("p", nodeSelector={"zone": "q"}),
            ZONED,
            [],
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        ),
        (pod("p", affinity=node_affinity("y", "z")), ZONED, [], "c"),
        (
            pod("p", ports=[{"hostPort": 80}]),
            [node("a")],
            [pod("x", on="a", ports=[{"hostPort": 80, "hostIP": "10.0.0.1"}])],
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
        ),
        (
            pod("p", tolerations=[{"key": "k", "operator": "Exists"}]),
            [node("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])],
            [],
            "a",
        ),
        (
            pod("p", affinity=affinity("podAffinity", "zone", app="db")),
            ZONED,
            [pod("x", on="c", labels={"app": "db"})],
            "c",
        ),
        (
            pod("p", labels={"app": "db"}, affinity=affinity("podAntiAffinity", "zone", app="db")),
            ZONED,
            [pod("x", on="a", labels={"app": "db"})],
            "c",
        ),
        (
            pod("p", labels={"app": "db"}),
            ZONED,
            [pod("x", on="b", affinity=affinity("podAntiAffinity", "zone", app="db"))],
            "c",
        ),
        (
            pod("p", affinity=affinity("podAffinity", "zone", app="none")),
            ZONED,
            [],
            "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.",
        ),
        (
            pod("p"),
            [node("a", taints=[{"key": "k", "effect": "PreferNoSchedule"}]), node("b")],
            [],
            "b",
        ),
        (
            pod(
                "p",
                labels={"app": "w"},
                topologySpreadConstraints=[
                    {
                        "maxSkew": 1,
                        "topologyKey": "zone",
                        "whenUnsatisfiable": "DoNotSchedule",
                        "labelSelector": {"matchLabels": {"app": "w"}},
                    }
                ],
            ),
            ZONED,
            [pod("x", on="a", labels={"app": "w"})],
            "c",
        ),
        (
            pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "gone"}}]),
            [node("a")],
            [],
            '0/1 nodes are available: persistentvolumeclaim "gone" not found.',
        ),
    ],
)
def test_scheduler_places_or_says_why_not(wanted: Any, nodes: list[Any], pods: list[Any], expected: str) -> None:
    assert expected == verdict(wanted, world(nodes, pods))


def test_scheduler_a_pod_that_satisfies_its_own_affinity_may_be_the_first() -> None:
    first = pod("p", labels={"app": "db"}, affinity=affinity("podAffinity", "zone", app="db"))
    assert verdict(first, world(ZONED)) in {"a", "b", "c"}


def test_scheduler_prefers_the_node_that_has_the_image() -> None:
    nodes = [node("a"), node("b")]
    nodes[1]["status"]["images"] = [{"names": ["docker.io/big:latest"], "sizeBytes": 900 * 2**20}]
    assert verdict(pod("p", image="docker.io/big"), world(nodes)) == "b"


def test_scheduler_init_containers_and_sidecars_count_as_upstream() -> None:
    wanted = pod("p", cpu="1")
    request = {"resources": {"requests": {"cpu": "1"}}}
    wanted["spec"]["initContainers"] = [
        {"name": "s", "restartPolicy": "Always", **request},
        {"name": "i", "resources": {"requests": {"cpu": "2500m"}}},
    ]
    wanted["spec"]["overhead"] = {"cpu": "100m"}
    assert PodInfo.of(wanted).requests["cpu"] == 3600


def test_scheduler_a_bound_volume_ties_the_pod_to_its_nodes() -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["y"]}]}
    volumes = Volumes(
        claim=lambda ns, name: {
            "metadata": {"name": name, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "pv"},
        },
        volume=lambda name: {
            "metadata": {"name": name},
            "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}},
        },
    )
    wanted = pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
    assert verdict(wanted, world(ZONED, volumes=volumes)) == "c"


def test_scheduler_preemption_takes_the_least_important_victims() -> None:
    seen = world(
        [node("a"), node("b")],
        [
            pod("low", on="a", cpu="3", priority=1),
            pod("mid", on="b", cpu="3", priority=5),
            pod("small", on="a", cpu="500m", priority=0),
        ],
    )
    wanted = PodInfo.of(pod("p", cpu="3", priority=10))
    found = preempt(look(wanted, seen, PROFILE), PROFILE, Random(1))
    assert (found.node, [v.name for v in found.victims]) == ("a", ["low"])


def test_scheduler_preemption_says_why_it_does_not_help() -> None:
    seen = world([node("a", cpu="1"), node("b")], [pod("x", on="b", cpu="3")])
    wanted = PodInfo.of(pod("p", cpu="2"))
    refused = look(wanted, seen, PROFILE)
    expected = (
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: "
        "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    )
    assert expected == refused.message(preempt(refused, PROFILE, Random(1)).message)


def test_scheduler_cache_counts_assumed_pods_until_the_binding_fails() -> None:
    cache = Cache()
    cache.set_node(node("a"))
    waiting = PodInfo.of(pod("p", cpu="3"))
    cache.assume(waiting, "a")
    assert cache.nodes["a"].requested["cpu"] == 3000
    cache.forget("p")
    assert cache.nodes["a"].requested["cpu"] == 0
    cache.set_pod(pod("p", cpu="3", on="a"))
    cache.forget("p")
    assert cache.nodes["a"].requested["cpu"] == 3000
    cache.set_pod({**pod("p", cpu="3", on="a"), "status": {"phase": "Succeeded"}})
    assert cache.nodes["a"].requested["cpu"] == 0


def test_scheduler_cache_looks_anew_only_at_pods_that_count_for_something_else() -> None:
    cache = Cache()
    first = pod("p", on="a", cpu="3")
    first["metadata"]["generation"] = 1
    cache.set_pod(first)
    before = cache.nodes["a"].pods["p"]
    cache.set_pod({**first, "status": {"phase": "Running"}})
    after = cache.nodes["a"].pods["p"]
    assert after.requests is before.requests and after.pod["status"] == {"phase": "Running"}
    resized = [{"name": "c", "resources": {"requests": {"cpu": "4"}}}]
    cache.set_pod({**first, "status": {"phase": "Running", "containerStatuses": resized}})
    assert cache.nodes["a"].requested["cpu"] == 4000
    cache.set_pod({**first, "metadata": {**first["metadata"], "labels": {"x": "y"}}})
    assert cache.nodes["a"].pods["p"].labels == {"x": "y"} and cache.nodes["a"].requested["cpu"] == 3000
