"""The controllers' pure decisions, by tables."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.objects import Key
from kumo.api.resources import DEPLOYMENTS, PODS, REPLICASETS
from kumo.kubernetes.controller_manager import ownership, pod_collector
from kumo.kubernetes.controller_manager.batches import slow_start
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.garbage_collector.decision import Delete, Keep, OwnerState, SetOwners, judge
from kumo.kubernetes.controller_manager.garbage_collector.graph import Graph
from kumo.kubernetes.controller_manager.namespace.content import Leftovers, wanted_conditions
from kumo.kubernetes.controller_manager.node_ipam import NodeIpamConfig, next_free
from kumo.kubernetes.controller_manager.node_lifecycle.health import Grace, left, silenced
from kumo.kubernetes.controller_manager.node_lifecycle.taints import eviction_time, wanted_taints
from kumo.kubernetes.controller_manager.replicaset.ranking import to_delete
from kumo.kubernetes.controller_manager.replicaset.status import next_look, status

pytestmark = pytest.mark.unit
NOW = 1_000_000.0


def pod(name: str, *, phase: str = "Running", ready: bool = True, node: str = "n", **meta: Any) -> Any:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "1970-01-12T13:00:00Z"}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "labels": {"app": "web"},
            "creationTimestamp": "1970-01-12T13:00:00Z",
            **meta,
        },
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": [condition]},
    }


# -- replica sets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dispensable", "others"),
    [
        (pod("a", node="", phase="Pending", ready=False), [pod("b", phase="Pending", ready=False)]),
        (pod("a", phase="Pending", ready=False), [pod("b", ready=False)]),
        (pod("a", ready=False), [pod("b")]),
        (pod("a", annotations={"controller.kubernetes.io/pod-deletion-cost": "-5"}), [pod("b")]),
        (pod("a", node="full"), [pod("b", node="empty"), pod("c", node="full")]),
        (pod("a", creationTimestamp="1970-01-12T13:46:39Z"), [pod("b")]),
    ],
)
def test_controller_replicaset_deletes_the_most_dispensable_first(dispensable: Any, others: list[Any]) -> None:
    everyone = [*others, dispensable]
    found = to_delete(everyone, everyone, 1, NOW)
    same = [o for o in others if o["spec"] == dispensable["spec"] and o["spec"].get("nodeName") == "full"]
    assert found[0] in [dispensable, *same]


def test_controller_replicaset_reports_ready_and_available_pods() -> None:
    replica_set = {"metadata": {"generation": 4}, "spec": {"minReadySeconds": 30, "template": {"metadata": {}}}}
    fresh = pod("b")
    fresh["status"]["conditions"][0]["lastTransitionTime"] = "1970-01-12T13:46:30Z"
    active = [pod("a"), fresh, pod("c", ready=False)]
    found = status(replica_set, active, 1, ("FailedCreate", "no"), NOW)
    failure = conditions.find(found.pop("conditions"), "ReplicaFailure") or {}
    assert found == {
        "replicas": 3,
        "fullyLabeledReplicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "terminatingReplicas": 1,
        "observedGeneration": 4,
    }
    assert (failure["reason"], failure["message"]) == ("FailedCreate", "no")
    assert next_look(replica_set, active, NOW) == 20.0


def test_controller_ownership_adopts_and_releases() -> None:
    owner = {"metadata": {"name": "rs", "namespace": "default", "uid": "rs"}}
    mine = [{"uid": "rs", "controller": True, "kind": "ReplicaSet", "name": "rs"}]
    other = [{"uid": "x", "controller": True, "kind": "ReplicaSet", "name": "x"}]
    objects = [
        pod("owned", ownerReferences=mine),
        pod("stray", ownerReferences=mine, labels={"app": "no"}),
        pod("orphan"),
        pod("other", ownerReferences=other),
        pod("ending", deletionTimestamp="x"),
    ]
    found = ownership.decide(owner, {"matchLabels": {"app": "web"}}, objects)
    names = [[o["metadata"]["name"] for o in group] for group in (found.owned, found.adopt, found.release)]
    assert names == [["owned"], ["orphan"], ["stray"]]


def test_controller_expectations_hold_back_until_seen_or_too_old() -> None:
    now = [0.0]
    expected = Expectations(lambda: now[0])
    key = Key("default", "rs")
    expected.expect_creations(key, 2)
    expected.created(key)
    assert not expected.met(key)
    expected.created(key)
    assert expected.met(key)
    expected.expect_deletions(key, ["a"])
    assert not expected.met(key)
    now[0] = 301.0
    assert expected.met(key)


async def test_controller_slow_start_stops_after_the_first_refusal() -> None:
    calls = 0

    async def refused() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        raise ValueError("quota")

    done, error = await slow_start(100, refused)
    assert (done, calls, str(error)) == (0, 1, "quota")


# -- garbage collection -----------------------------------------------------------------------------------------------


def owned(uid: str, *owners: str, blocks: bool = False, **meta: Any) -> Any:
    references = [
        {"apiVersion": "v1", "kind": "K", "name": o, "uid": o} | ({"blockOwnerDeletion": True} if blocks else {})
        for o in owners
    ]
    return {"metadata": {"uid": uid, "name": uid, "namespace": "d", "ownerReferences": references, **meta}}


SOLID, ABSENT, WAITING = OwnerState.SOLID, OwnerState.ABSENT, OwnerState.WAITING


@pytest.mark.parametrize(
    ("obj", "states", "waits", "expected"),
    [
        (owned("p"), {}, False, Keep()),
        (owned("p", "a"), {"a": SOLID}, False, Keep()),
        (owned("p", "a"), {"a": ABSENT}, False, Delete("Background")),
        (owned("p", "a", finalizers=["orphan"]), {"a": ABSENT}, False, Delete("Orphan")),
        (owned("p", "a"), {"a": WAITING}, False, Delete("Foreground")),
        (owned("p", "a"), {"a": WAITING}, True, Delete("Foreground", unblock=True)),
        (owned("p", "a", deletionTimestamp="x"), {"a": ABSENT}, False, Keep()),
        (
            owned("p", "a", "b"),
            {"a": ABSENT, "b": SOLID},
            False,
            SetOwners(({"apiVersion": "v1", "kind": "K", "name": "b", "uid": "b"},)),
        ),
    ],
)
def test_controller_garbage_is_judged_by_the_state_of_its_owners(
    obj: Any, states: dict[str, OwnerState], waits: bool, expected: Any
) -> None:
    assert judge(obj, states, waits_for_dependents=waits) == expected


def test_controller_graph_points_out_what_deserves_a_look() -> None:
    graph = Graph()
    assert graph.observe(PODS, owned("pod", "rs", blocks=True)) == {"pod"}
    assert graph.get("rs") is None
    assert graph.observe(REPLICASETS, owned("rs", "dep")) == {"rs"}
    assert graph.observe(DEPLOYMENTS, owned("dep")) == set()
    assert graph.observe(PODS, owned("pod", "rs", blocks=True)) == set()
    deleting = owned("rs", "dep", deletionTimestamp="x", finalizers=["foregroundDeletion"])
    assert graph.observe(REPLICASETS, deleting) == {"rs", "pod"}
    replica_set = graph.get("rs")
    assert replica_set is not None
    assert [d.uid for d in graph.blocking(replica_set)] == ["pod"]
    assert graph.remove("pod") == {"rs"}
    assert graph.remove("rs") == set()
    assert graph.remove("dep") == set()
    assert graph.nodes == {}


# -- namespaces -------------------------------------------------------------------------------------------------------


def test_controller_namespace_says_what_is_left() -> None:
    leftovers = Leftovers()
    leftovers.note(PODS, [{"metadata": {"finalizers": ["x/y"]}}])
    by_type = {c["type"]: c for c in wanted_conditions(leftovers)}
    assert by_type["NamespaceContentRemaining"]["message"] == (
        "Some resources are remaining: pods. has 1 resource instances"
    )
    assert by_type["NamespaceFinalizersRemaining"]["message"] == (
        "Some content in the namespace has finalizers remaining: x/y in 1 resource instances"
    )
    assert by_type["NamespaceDeletionContentFailure"]["status"] == "False"
    assert not leftovers.is_empty
    assert Leftovers().is_empty


# -- nodes ------------------------------------------------------------------------------------------------------------


def node(ready: str, reason: str = "KubeletReady", **spec: Any) -> Any:
    listed = [{"type": "Ready", "status": ready, "reason": reason}]
    return {"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": listed}}


def test_controller_node_falls_silent_after_its_grace() -> None:
    grace = Grace(running=40, starting=60)
    assert left(node("True"), 39, grace) == 1
    assert left({"metadata": {}}, 59, grace) == 1
    listed = silenced(node("True"), NOW) or []
    ready = conditions.find(listed, "Ready") or {}
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert (conditions.find(listed, "DiskPressure") or {})["reason"] == "NodeStatusNeverUpdated"
    assert silenced({"status": {"conditions": listed}}, NOW) is None


@pytest.mark.parametrize(
    ("subject", "evict", "expected"),
    [
        (node("True"), True, None),
        (node("Unknown"), True, {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}),
        (node("Unknown"), False, {("unreachable", "NoSchedule")}),
        (node("False"), True, {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        (node("True", unschedulable=True), True, {("unschedulable", "NoSchedule")}),
        (
            node("True", taints=[{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]),
            True,
            set(),
        ),
    ],
)
def test_controller_node_taints_follow_conditions(subject: Any, evict: bool, expected: Any) -> None:
    found = wanted_taints(subject, evict=evict, now=NOW)
    keys = None if found is None else {(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in found}
    assert keys == expected


def test_controller_node_pods_leave_when_their_shortest_toleration_ends() -> None:
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}
    held = {"key": "k", "operator": "Exists", "effect": "NoExecute"}

    def leaving(*tolerations: Any) -> float | None:
        return eviction_time({"spec": {"tolerations": list(tolerations)}}, [taint], NOW)

    assert leaving() == 100.0
    assert leaving(held) is None
    assert leaving({**held, "tolerationSeconds": 300}, {**held, "tolerationSeconds": 5}) == 105.0


def test_controller_node_networks_do_not_overlap() -> None:
    config = NodeIpamConfig("10.0.0.0/22", 24)
    assert config.ranges("10.0.2.0/24") == ["10.0.2.0/24"]
    both = NodeIpamConfig("10.0.0.0/22", 24, "fd00:1::/48")
    assert both.ranges("10.0.2.0/24") == ["10.0.2.0/24", "fd00:1:0:2::/64"]
    taken: list[str] = ["10.0.1.0/24"]
    while (part := next_free(config, taken)) is not None:
        taken.append(part)
    assert sorted(taken) == [f"10.0.{i}.0/24" for i in range(4)]


def test_controller_pod_collector_takes_the_oldest_ended_pods() -> None:
    pods = [
        pod("young", phase="Succeeded", creationTimestamp="2026-01-02T00:00:00Z"),
        pod("old", phase="Failed", creationTimestamp="2026-01-01T00:00:00Z"),
        pod("running"),
    ]
    assert [o["metadata"]["name"] for o in pod_collector.surplus(pods, 1)] == ["old"]
    assert pod_collector.surplus(pods, 2) == []
