"""Topology aware hints: zones by their CPUs, endpoints spread over them, slices that say so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from kumo.kubernetes.controller_manager.endpoints import topology
from kumo.kubernetes.controller_manager.endpoints.addresses import endpoints
from kumo.kubernetes.controller_manager.endpoints.slices import changes, zones_now
from kumo.kubernetes.controller_manager.endpoints.triggers import ANNOTATION, Triggers, note

pytestmark = pytest.mark.unit


def node(name: str, zone: str = "", cpu: str = "4", ready: bool = True, **labels: str) -> Any:
    found = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {
        "metadata": {"name": name, "labels": {**found, **labels}},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([node("1", "a"), node("2", "b", "12")], {"a": 0.25, "b": 0.75}),
        ([node("1", "a"), node("2", "b", "1500m"), node("3", "a", "500m")], {"a": 0.75, "b": 0.25}),
        ([node("1", "a"), node("2", "b"), node("3")], {}),
        ([node("1", "a"), node("2", "b"), node("3", ready=False)], {"a": 0.5, "b": 0.5}),
        (
            [node("1", "a"), node("2", "b"), node("3", **{"node-role.kubernetes.io/control-plane": ""})],
            {"a": 0.5, "b": 0.5},
        ),
        ([node("1", "a"), node("2", "b", "0")], {}),
        ([node("1", "a"), node("2", "a")], {}),
        ([], {}),
    ],
)
def test_controller_topology_shares_of_cpus(nodes: list[Any], found: dict[str, float]) -> None:
    assert topology.ratios(nodes) == found


def places(**count: int) -> list[tuple[str, str]]:
    return [(f"{zone}{i}", zone) for zone, number in count.items() for i in range(number)]


HALVES = {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("where", "zones", "counts"),
    [
        (places(a=3, b=3), HALVES, {"a": 3, "b": 3}),
        (places(a=6), HALVES, {"a": 3, "b": 3}),
        (places(a=6, b=5), HALVES, {"a": 6, "b": 5}),
        (places(a=9, b=1, c=2), {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"a": 4, "b": 4, "c": 4}),
    ],
)
def test_controller_topology_spreads_endpoints(where: Any, zones: dict[str, float], counts: dict[str, int]) -> None:
    made = topology.assign(where, {}, zones)
    assert Counter(made.values()) == counts
    moved = sum(made[uid] != zone for uid, zone in where)
    assert moved == sum(max(Counter(z for _, z in where)[z] - n, 0) for z, n in counts.items())
    # What will do stays: nothing is written for its own sake.
    assert topology.assign(where, made, zones) == made


def test_controller_topology_of_a_zone_too_many_are_meant_for() -> None:
    where = places(a=2, b=2)
    assert topology.assign(where, dict.fromkeys(dict(where), "a"), HALVES) == dict(where)


@pytest.mark.parametrize(
    ("where", "zones", "words"),
    [
        (places(a=3), {}, "Insufficient Node information"),
        (places(a=1), HALVES, r"Insufficient number of endpoints \(1 endpoints, 2 zones\)"),
        ([("x", ""), ("y", "a")], HALVES, "do not have a zone"),
        (places(a=3), {"a": 0.4, "b": 0.4, "c": 0.2}, r"without exceeding overload threshold \(3 endpoints, 3 zones\)"),
    ],
)
def test_controller_topology_gives_no_hints(where: Any, zones: dict[str, float], words: str) -> None:
    with pytest.raises(topology.NoHints, match=words):
        topology.assign(where, {}, zones)


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({}, False),
        ({topology.MODE: "Auto"}, True),
        ({topology.MODE: "auto"}, True),
        ({topology.MODE: "AUTO"}, False),
        ({topology.MODE: "Auto", topology.OLD_MODE: "Disabled"}, False),
    ],
)
def test_controller_topology_mode(annotations: dict[str, str], wanted: bool) -> None:
    assert topology.is_wanted({"metadata": {"annotations": annotations}}) is wanted


def pod(name: str, where: str) -> Any:
    ready = [{"type": "Ready", "status": "True"}]
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"nodeName": where},
        "status": {"podIP": f"10.0.0.{len(name)}", "phase": "Running", "conditions": ready},
    }


def test_controller_slices_carry_hints_and_lose_them() -> None:
    nodes = {"1": node("1", "a"), "2": node("2", "b")}
    meta = {"name": "s", "namespace": "default", "uid": "s"}
    subject: Any = {"metadata": meta, "spec": {"selector": {"x": "y"}, "ports": [{"port": 80}]}}
    found = endpoints(subject, [pod("p", "1"), pod("pp", "2")], nodes, "IPv4")
    made = changes(subject, "IPv4", found, [], {"p": "b", "pp": "a"})
    assert zones_now(made.create) == {"p": "b", "pp": "a"}
    assert changes(subject, "IPv4", found, made.create, {"p": "b", "pp": "a"}).update == []
    (plain,) = changes(subject, "IPv4", found, made.create, {}).update
    assert zones_now([plain]) == {}
    subject["spec"]["trafficDistribution"] = "PreferSameNode"
    (close,) = changes(subject, "IPv4", found, [plain]).update
    hints = [{"forZones": [{"name": z}], "forNodes": [{"name": n}]} for z, n in (("a", "1"), ("b", "2"))]
    assert sorted((e["hints"] for e in close["endpoints"]), key=str) == sorted(hints, key=str)


@pytest.mark.parametrize(("spec", "names"), [({}, ["p"]), ({"publishNotReadyAddresses": True}, ["p", "q"])])
def test_controller_endpoints_are_on_nodes_that_exist(spec: dict[str, Any], names: list[str]) -> None:
    subject: Any = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], **spec}}
    pods = [pod("p", "1"), pod("q", "gone")]
    assert [e.pod[1] for e in endpoints(subject, pods, {"1": node("1")}, "IPv4", on_known=True)] == names
    assert len(endpoints(subject, pods, {}, "IPv4")) == 2


def test_controller_endpoints_say_since_when_they_are_due() -> None:
    triggers = Triggers()
    subject = {"metadata": {"name": "s", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}}

    def ready(name: str, since: str) -> Any:
        found = pod(name, "1")
        found["status"]["conditions"][0]["lastTransitionTime"] = since
        return found

    first, second = ready("p", "2026-01-01T00:01:00Z"), ready("q", "2026-01-01T00:02:00Z")
    assert triggers.last(subject, [first]) == "2026-01-01T00:00:00Z"
    assert triggers.last(subject, [first]) == ""
    later = ready("p", "2026-01-01T00:03:00Z")
    assert triggers.last(subject, [later, second]) == "2026-01-01T00:02:00Z"
    made: Any = {"metadata": {"annotations": {"a": "b"}}}
    note(made, "2026-01-01T00:02:00Z")
    assert made["metadata"]["annotations"] == {"a": "b", ANNOTATION: "2026-01-01T00:02:00Z"}
    note(made, "")
    assert made["metadata"]["annotations"] == {"a": "b"}
