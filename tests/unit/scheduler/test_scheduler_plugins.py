"""Filters and scores by tables: the numbers follow from upstream's formulas, whole numbers at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kumo.api.tolerations import tolerates
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Resource, node_actions
from kumo.kubernetes.scheduler.cycle import Cycle
from kumo.kubernetes.scheduler.decision import look, wanted_nodes
from kumo.kubernetes.scheduler.devices.selecting import CelSelectors
from kumo.kubernetes.scheduler.devices.writing import Reservation
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.plugins.base import Plugin
from kumo.kubernetes.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from kumo.kubernetes.scheduler.plugins.node_affinity import NodeAffinity
from kumo.kubernetes.scheduler.plugins.node_resources import BalancedAllocation, Fit, Strategy, Weighted
from kumo.kubernetes.scheduler.plugins.resource_claims import DynamicResources, find_claims, reservations
from kumo.kubernetes.scheduler.plugins.taints import TaintToleration
from kumo.kubernetes.scheduler.plugins.topology_spread import PodTopologySpread
from kumo.kubernetes.scheduler.profile import default_profile
from kumo.kubernetes.scheduler.world import Devices, Volumes, World

pytestmark = pytest.mark.unit
ZONE = "topology.kubernetes.io/zone"
PROFILE = default_profile()


def node(name: str, zone: str = "", *, labels: Any = None, **spec: Any) -> dict[str, Any]:
    amounts = {"cpu": spec.pop("cpu", "4"), "memory": spec.pop("memory", "8Gi"), "pods": "110", **spec.pop("more", {})}
    marks = {"kubernetes.io/hostname": name, **({ZONE: zone} if zone else {}), **(labels or {})}
    return {"metadata": {"name": name, "labels": marks}, "spec": spec, "status": {"allocatable": amounts}}


def pod(
    name: str, on: str = "", *, cpu: str = "", labels: Any = None, space: str = "ns", **spec: Any
) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    meta = {"name": name, "namespace": space, "uid": name, "labels": labels or {}}
    return {"metadata": meta, "spec": {"containers": [container], **spec, **({"nodeName": on} if on else {})}}


def world(nodes: Sequence[Any], pods: Sequence[Any] = (), **more: Any) -> World:
    cache = Cache()
    for found in nodes:
        cache.set_node(found)
    for found in pods:
        cache.set_pod(found)
    return World(cache, **more)


def scores(plugin: Plugin, wanted: Any, seen: World) -> dict[str, int] | None:
    cycle = Cycle(PodInfo.of(wanted), seen)
    plugin.pre_filter(cycle)
    nodes = sorted(seen.cache.candidates(), key=lambda n: n.name)
    found = plugin.score(cycle, nodes)
    return None if found is None else {n.name: s for n, s in zip(nodes, found)}


def message(wanted: Any, seen: World) -> str:
    verdict = look(PodInfo.of(wanted), seen, PROFILE)
    return " ".join(sorted(n.name for n in verdict.feasible)) or verdict.message()


# -- resources ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy(), {"a": 86, "b": 60}),
        (Strategy("MostAllocated"), {"a": 13, "b": 39}),
        (Strategy("LeastAllocated", (Weighted("cpu", 3), Weighted("memory", 1))), {"a": 80, "b": 42}),
        (Strategy("LeastAllocated", (Weighted("cpu"), Weighted("example.com/gpu"))), {"a": 75, "b": 25}),
        (Strategy("RequestedToCapacityRatio", shape=((0, 10), (100, 0))), {"a": 87, "b": 61}),
    ],
)
def test_scheduler_fit_scores_by_strategy(strategy: Strategy, expected: dict[str, int]) -> None:
    seen = world([node("a"), node("b")], [pod("x", "b", cpu="2")])
    assert scores(Fit(strategy), pod("p", cpu="1"), seen) == expected


def test_scheduler_balance_is_judged_by_what_the_pod_changes() -> None:
    seen = world([node("a"), node("b")], [pod("x", "b", cpu="2")])
    assert scores(BalancedAllocation(), pod("p", cpu="1"), seen) == {"a": 68, "b": 68}
    assert scores(BalancedAllocation(), pod("p"), seen) is None, "pods without requests unbalance nothing"


def test_scheduler_fit_names_everything_that_is_missing() -> None:
    wanted = pod("p", cpu="9")
    wanted["spec"]["containers"][0]["resources"]["requests"] |= {"memory": "9Gi", "example.com/gpu": "1"}
    expected = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient example.com/gpu, 1 Insufficient memory."
    assert message(wanted, world([node("a")])) == expected


def test_scheduler_fit_leaves_resources_to_others() -> None:
    wanted = pod("p")
    wanted["spec"]["containers"][0]["resources"] = {"requests": {"example.com/a": "1", "other.com/b": "1"}}
    fit = Fit(None, ["example.com/a"], ["other.com"])
    seen = world([node("a")])
    cycle = Cycle(PodInfo.of(wanted), seen)
    fit.pre_filter(cycle)
    assert fit.filter(cycle, seen.cache.nodes["a"]) is None


@pytest.mark.parametrize(
    ("total", "percentage", "expected"), [(99, 0, 99), (100, 0, 100), (1000, 0, 420), (5000, 0, 500), (1000, 80, 800)]
)
def test_scheduler_enough_nodes(total: int, percentage: int, expected: int) -> None:
    assert wanted_nodes(total, percentage) == expected


# -- taints and node affinity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"key": "k", "value": "5"}, True),
        ({"key": "k", "value": "6"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "k", "operator": "Lt", "value": "6"}, True),
        ({"key": "k", "operator": "Gt", "value": "6"}, False),
        ({"key": "k", "operator": "Gt", "value": "x"}, False),
    ],
)
def test_scheduler_toleration(toleration: Any, expected: bool) -> None:
    assert tolerates(toleration, {"key": "k", "value": "5", "effect": "NoSchedule"}) is expected


def test_scheduler_soft_taints_cost_points() -> None:
    soft = [{"key": k, "effect": "PreferNoSchedule"} for k in ("a", "b")]
    seen = world([node("a"), node("b", taints=soft[:1]), node("c", taints=soft)])
    assert scores(TaintToleration(), pod("p"), seen) == {"a": 100, "b": 50, "c": 0}
    tolerant = pod("p", tolerations=[{"key": "b", "operator": "Exists", "effect": "NoSchedule"}, {"key": "a"}])
    assert scores(TaintToleration(), tolerant, seen) == {"a": 100, "b": 100, "c": 0}


def test_scheduler_named_nodes_alone_are_looked_at() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["a", "gone"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    assert message(pod("p", **spec), world([node("a"), node("b")])) == "a"
    expected = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    assert message(pod("p", cpu="9", **spec), world([node("a"), node("b")])) == expected
    terms["nodeSelectorTerms"][0]["matchFields"].append({**field, "values": ["b"]})
    assert message(pod("p", **spec), world([node("a")])) == "0/1 nodes are available: pod affinity terms conflict."


def test_scheduler_affinity_that_the_profile_adds() -> None:
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["y"]}]}]}
    plugin = NodeAffinity({"requiredDuringSchedulingIgnoredDuringExecution": required})
    seen = world([node("a", "x"), node("b", "y")])
    cycle = Cycle(PodInfo.of(pod("p")), seen)
    plugin.pre_filter(cycle)
    refusal = plugin.filter(cycle, seen.cache.nodes["a"])
    assert refusal is not None and refusal.reasons == ("node(s) didn't match scheduler-enforced node affinity",)
    assert plugin.filter(cycle, seen.cache.nodes["b"]) is None


def test_scheduler_features_that_nodes_declare() -> None:
    container = {"name": "c", "restartPolicyRules": [{"action": "RestartAllContainers"}]}
    able = node("b")
    able["status"]["declaredFeatures"] = ["RestartAllContainersOnContainerExits"]
    wanted = {**pod("p"), "spec": {"containers": [container]}}
    assert message(wanted, world([node("a"), able])) == "b"
    assert message(wanted, world([node("a")])) == (
        "0/1 nodes are available: 1 node(s) didn't match Pod's required features."
    )


# -- spread ---------------------------------------------------------------------------------------------------------


def spread(**more: Any) -> dict[str, Any]:
    rule = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "w"}},
        **more,
    }
    return {"topologySpreadConstraints": [rule]}


W = {"app": "w"}
TAINT = {"taints": [{"key": "k", "effect": "NoSchedule"}]}


@pytest.mark.parametrize(
    ("wanted", "nodes", "pods", "expected"),
    [
        (pod("p", labels=W, **spread()), [node("a", "x"), node("b", "y")], [pod("q", "a", labels=W)], "b"),
        (pod("p", labels=W, **spread(maxSkew=2)), [node("a", "x"), node("b", "y")], [pod("q", "a", labels=W)], "a b"),
        (pod("p", labels=W, **spread()), [node("a", "x"), node("b", "y")], [pod("q", "a", labels=W, space="o")], "a b"),
        (
            pod("p", labels=W, **spread(minDomains=3)),
            [node("a", "x"), node("b", "y")],
            [pod("q", "a", labels=W), pod("r", "b", labels=W)],
            "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.",
        ),
        (
            pod("p", labels=W, **spread()),
            [node("a", "x"), node("b")],
            [],
            "a",
        ),
        (
            pod("p", labels=W, **spread()),
            [node("a", "x"), node("b", "y", **TAINT)],
            [pod("q", "a", labels=W)],
            "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, "
            "1 node(s) had untolerated taint(s).",
        ),
        (
            pod("p", labels=W, **spread(nodeTaintsPolicy="Honor")),
            [node("a", "x"), node("b", "y", **TAINT)],
            [pod("q", "a", labels=W)],
            "a",
        ),
        (
            pod("p", labels=W, nodeSelector={ZONE: "x"}, **spread()),
            [node("a", "x"), node("b", "y")],
            [pod("q", "a", labels=W)],
            "a",
        ),
        (
            pod("p", labels=W, nodeSelector={ZONE: "x"}, **spread(nodeAffinityPolicy="Ignore")),
            [node("a", "x"), node("b", "y")],
            [pod("q", "a", labels=W)],
            "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
            "1 node(s) didn't match pod topology spread constraints.",
        ),
        (
            pod("p", labels={**W, "v": "2"}, **spread(matchLabelKeys=["v"])),
            [node("a", "x"), node("b", "y")],
            [pod("q", "a", labels={**W, "v": "1"})],
            "a b",
        ),
    ],
)
def test_scheduler_hard_spread(wanted: Any, nodes: list[Any], pods: list[Any], expected: str) -> None:
    assert message(wanted, world(nodes, pods)) == expected


def test_scheduler_soft_spread_scores() -> None:
    seen = world([node("a", "x"), node("b", "x"), node("c", "y")], [pod("q", "a", labels=W), pod("r", "a", labels=W)])
    soft = pod("p", labels=W, **spread(whenUnsatisfiable="ScheduleAnyway"))
    assert scores(PodTopologySpread(), soft, seen) == {"a": 0, "b": 0, "c": 100}


def test_scheduler_default_spread_is_by_services_and_owners() -> None:
    nodes, pods = [node("a", "x"), node("b", "y")], [pod("q", "a", labels=W)]
    plain = pod("p", labels=W)
    assert scores(PodTopologySpread(), plain, world(nodes, pods)) is None
    seen = world(nodes, pods, default_selector=lambda _: {"matchLabels": W})
    assert scores(PodTopologySpread(), plain, seen) == {"a": 66, "b": 100}


# -- affinity between pods ------------------------------------------------------------------------------------------


def near(kind: str, weight: int = 0, **more: Any) -> dict[str, Any]:
    term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": W}, **more}
    when = "preferred" if weight else "required"
    terms = [{"weight": weight, "podAffinityTerm": term}] if weight else [term]
    return {"affinity": {kind: {f"{when}DuringSchedulingIgnoredDuringExecution": terms}}}


def test_scheduler_preferred_terms_of_both_sides_are_weighed() -> None:
    seen = world([node("a", "x"), node("b", "y")], [pod("q", "a", labels=W)])
    assert scores(InterPodAffinity(), pod("p", **near("podAffinity", 10)), seen) == {"a": 100, "b": 0}
    assert scores(InterPodAffinity(), pod("p", **near("podAntiAffinity", 10)), seen) == {"a": 0, "b": 100}
    assert scores(InterPodAffinity(), pod("p"), seen) is None
    wary = world([node("a", "x"), node("b", "y")], [pod("q", "a", **near("podAntiAffinity", 5))])
    assert scores(InterPodAffinity(), pod("p", labels=W), wary) == {"a": 0, "b": 100}
    fond = world([node("a", "x"), node("b", "y")], [pod("q", "b", labels=W, **near("podAffinity"))])
    assert scores(InterPodAffinity(), pod("p", labels=W), fond) == {"a": 0, "b": 100}
    assert scores(InterPodAffinity(hard_weight=0), pod("p", labels=W), fond) is None


@pytest.mark.parametrize(
    ("more", "space", "expected"),
    [
        ({}, "other", "a b"),
        ({"namespaces": ["other"]}, "other", "b"),
        ({"namespaceSelector": {}}, "other", "b"),
        ({"namespaceSelector": {"matchLabels": {"team": "t"}}}, "other", "b"),
        ({"namespaceSelector": {"matchLabels": {"team": "u"}}}, "other", "a b"),
    ],
)
def test_scheduler_terms_speak_of_namespaces(more: dict[str, Any], space: str, expected: str) -> None:
    seen = world(
        [node("a", "x"), node("b", "y")],
        [pod("q", "a", labels=W, space=space)],
        namespace_labels=lambda name: {"team": "t"} if name == "other" else {},
    )
    assert message(pod("p", **near("podAntiAffinity", **more)), seen) == expected


# -- volumes --------------------------------------------------------------------------------------------------------


def volumes(**objects: Any) -> Volumes:
    claims = {"c": {"metadata": {"name": "c", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}}}
    claims["c"]["spec"] = {"volumeName": "v", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {}}}
    return Volumes(claim=lambda space, name: claims.get(name), volume=lambda name: objects["volume"], **objects["more"])


CLAIMING = pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])


def test_scheduler_volume_of_another_zone() -> None:
    volume = {"metadata": {"name": "v", "labels": {ZONE: "x__z"}}, "spec": {}}
    nodes = [node("a", "x"), node("b", "y"), node("c")]
    assert message(CLAIMING, world(nodes, volumes=volumes(volume=volume, more={}))) == "a c"


def test_scheduler_volume_limit_of_a_driver() -> None:
    volume = {"metadata": {"name": "v"}, "spec": {"csi": {"driver": "d", "volumeHandle": "h"}}}
    more = {
        "csi_node": lambda name: {
            "spec": {"drivers": [{"name": "d", "allocatable": {"count": 0 if name == "a" else 1}}]}
        }
    }
    seen = world([node("a"), node("b")], volumes=volumes(volume=volume, more=more))
    assert message(CLAIMING, seen) == "b"
    seen.cache.set_pod({**CLAIMING, "metadata": {**CLAIMING["metadata"], "uid": "q"}, "spec": {**CLAIMING["spec"]}})
    full = world([node("a")], volumes=volumes(volume=volume, more=more))
    assert message(CLAIMING, full) == "0/1 nodes are available: 1 node(s) exceed max volume count."


def test_scheduler_capacity_that_a_driver_publishes() -> None:
    claim = {"metadata": {"name": "c", "namespace": "ns", "uid": "c"}, "status": {"phase": "Pending"}}
    claim["spec"] = {"storageClassName": "s", "accessModes": [], "resources": {"requests": {"storage": "5Gi"}}}
    found = {"provisioner": "d", "volumeBindingMode": "WaitForFirstConsumer"}
    capacity = {"storageClassName": "s", "capacity": "9Gi", "nodeTopology": {"matchLabels": {ZONE: "y"}}}
    more: dict[str, Any] = {
        "claim": lambda space, name: claim,
        "storage_class": lambda name: found,
        "csi_driver": lambda name: {"spec": {"storageCapacity": True}},
        "capacities": lambda: [capacity],
    }
    nodes = [node("a", "x"), node("b", "y")]
    assert message(CLAIMING, world(nodes, volumes=Volumes(**more))) == "b"
    claim["spec"]["resources"] = {"requests": {"storage": "10Gi"}}
    expected = "0/2 nodes are available: 2 node(s) did not have enough free storage."
    assert message(CLAIMING, world(nodes, volumes=Volumes(**more))) == expected


# -- resource claims ------------------------------------------------------------------------------------------------


def claim(allocation: Any = None, **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "c", "namespace": "ns", "uid": "c", **meta},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
        "status": {"allocation": allocation} if allocation else {},
    }


def devices(found: Any) -> Devices:
    return Devices(
        lambda space, name: found,
        device_class=lambda name: {"metadata": {"name": name}, "spec": {}},
        selectors=CelSelectors(),
    )


ON_B = {
    "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["y"]}]}]}
}
BY_NAME = {"resourceClaims": [{"name": "r", "resourceClaimName": "c"}]}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (claim(ON_B), "b"),
        (claim({"devices": {}}), "a b"),
        (claim(), "0/2 nodes are available: 2 cannot allocate all claims."),
        (claim(ON_B, deletionTimestamp="x"), '0/2 nodes are available: resourceclaim "c" is being deleted.'),
        (None, '0/2 nodes are available: could not find resource claim "ns/c".'),
    ],
)
def test_scheduler_pods_go_where_their_claims_are_allocated(found: Any, expected: str) -> None:
    seen = world([node("a", "x"), node("b", "y")], devices=devices(found))
    assert message(pod("p", **BY_NAME), seen) == expected


def test_scheduler_claims_of_templates_belong_to_their_pod() -> None:
    wanted = pod("p", resourceClaims=[{"name": "r", "resourceClaimTemplateName": "t"}])
    assert find_claims(PodInfo.of(wanted), lambda space, name: None) == 'pod "ns/p": ResourceClaim not created yet'
    wanted["status"] = {"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "c"}]}
    stranger = claim(ON_B)
    expected = "ResourceClaim ns/c was not created for Pod ns/p (Pod is not owner)"
    assert find_claims(PodInfo.of(wanted), lambda space, name: stranger) == expected
    own = claim(ON_B, ownerReferences=[{"uid": "p", "controller": True}])
    assert find_claims(PodInfo.of(wanted), lambda space, name: own) == (own,)


def test_scheduler_claims_are_reserved_once() -> None:
    held = claim(ON_B)
    cycle = Cycle(PodInfo.of(pod("p", **BY_NAME)), world([node("b", "y")], devices=devices(held)))
    assert DynamicResources().pre_filter(cycle) is None
    assert reservations(cycle, "b") == (Reservation(held),)
    held["status"]["reservedFor"] = [{"resource": "pods", "name": "p", "uid": "p"}]
    assert reservations(cycle, "b") == ()


# -- events ---------------------------------------------------------------------------------------------------------


def hopes(plugin: Plugin, wanted: Any, event: Happening) -> bool:
    return any(
        i.resource is event.resource and i.actions & event.action and (i.hint is None or i.hint(wanted, event))
        for i in plugin.interests()
    )


def changed(old: Any, new: Any) -> Happening:
    action = Action.ADD if old is None else Action.DELETE if new is None else node_actions(old, new)
    return Happening(Resource.NODE, action, old, new)


@pytest.mark.parametrize(
    ("plugin", "wanted", "old", "new", "expected"),
    [
        (Fit(), pod("p", cpu="3"), None, node("a", cpu="2"), False),
        (Fit(), pod("p", cpu="3"), None, node("a", cpu="4"), True),
        (Fit(), pod("p", cpu="3"), node("a", cpu="4"), node("a", cpu="4", memory="9Gi"), False),
        (Fit(), pod("p", cpu="3"), node("a", cpu="4"), node("a", cpu="5"), True),
        (TaintToleration(), pod("p"), node("a", **TAINT), node("a"), True),
        (TaintToleration(), pod("p"), node("a"), node("a", labels={"x": "y"}), False),
        (NodeAffinity(), pod("p", nodeSelector={"x": "y"}), node("a"), node("a", labels={"x": "y"}), True),
        (NodeAffinity(), pod("p", nodeSelector={"x": "y"}), None, node("a"), False),
        (PodTopologySpread(), pod("p", **spread()), None, node("a", "x"), True),
        (PodTopologySpread(), pod("p", **spread()), None, node("a"), False),
        (InterPodAffinity(), pod("p", **near("podAffinity")), None, node("a"), False),
        (InterPodAffinity(), pod("p", **near("podAntiAffinity")), None, node("a"), True),
    ],
)
def test_scheduler_hint_for_nodes(plugin: Plugin, wanted: Any, old: Any, new: Any, expected: bool) -> None:
    assert hopes(plugin, wanted, changed(old, new)) is expected


@pytest.mark.parametrize(
    ("plugin", "wanted", "gone", "expected"),
    [
        (Fit(), pod("p", cpu="3"), pod("q", "a"), True),
        (Fit(), pod("p", cpu="3"), pod("q"), False),
        (PodTopologySpread(), pod("p", **spread()), pod("q", "a", labels=W), True),
        (PodTopologySpread(), pod("p", **spread()), pod("q", "a"), False),
        (InterPodAffinity(), pod("p", **near("podAntiAffinity")), pod("q", "a", labels=W), True),
        (InterPodAffinity(), pod("p", **near("podAntiAffinity")), pod("q", "a"), False),
    ],
)
def test_scheduler_hint_for_pods_that_go(plugin: Plugin, wanted: Any, gone: Any, expected: bool) -> None:
    assert hopes(plugin, wanted, Happening(Resource.POD, Action.DELETE, gone, None)) is expected
