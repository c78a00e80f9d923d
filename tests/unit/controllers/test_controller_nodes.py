"""Zones of nodes, how fast they are emptied, what kubelets are told about caching, and which nodes are off."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.controller_manager.node_lifecycle.taints import wanted_taints
from kumo.kubernetes.controller_manager.node_lifecycle.zones import Pace, Zones, zone_of
from kumo.kubernetes.controller_manager.node_ttl import seconds_of, step_for
from kumo.kubernetes.controller_manager.pod_collector import is_out_of_service

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("ready", "unready", "rate"),
    [(3, 0, 0.1), (0, 9, 0.1), (1, 2, 0.1), (2, 3, 0.0), (3, 3, 0.1), (20, 31, 0.01), (22, 28, 0.0), (30, 31, 0.1)],
)
def test_controller_zones_are_emptied_slower_the_sicker_they_are(ready: int, unready: int, rate: float) -> None:
    assert Pace().of(ready, unready) == rate


def test_controller_zones_lose_a_node_every_ten_seconds() -> None:
    zones = Zones(Pace())
    assert not zones.any_ready
    assert zones.note("a", "z", True) and zones.any_ready
    assert not zones.note("b", "z", True) and not zones.note("b", "z", True)
    zones.note("b", "z", False)
    assert zones.wait("z", 50.0) == 0
    zones.took("z", 50.0)
    assert zones.wait("z", 53.0) == 7
    assert zones.wait("other", 53.0) == 0


def test_controller_zones_that_seem_cut_off_lose_none() -> None:
    zones = Zones(Pace())
    for name in "abcde":
        zones.note(name, "z", True)
    assert [zones.note(name, "z", False) for name in "abc"] == [False, False, True]
    assert zones.wait("z", 0.0) is None
    assert zones.note("c", "z", True) and zones.wait("z", 0.0) == 0
    assert [zones.note(name, "z", None) for name in "cde"] == [False, False, True] and not zones.any_ready
    assert zones.note("a", "y", True)


def test_controller_zone_of_a_node() -> None:
    region, zone = {"topology.kubernetes.io/region": "r"}, {"topology.kubernetes.io/zone": "z"}
    old = {"failure-domain.beta.kubernetes.io/zone": "old"}
    found = [zone_of({"metadata": {"labels": labels}}) for labels in ({}, zone, {**region, **zone}, {**zone, **old})]
    assert found == ["", "\0z", "r\0z", "\0old"]


def node(*taints: str, ready: str = "Unknown") -> Any:
    listed = [{"key": key, "effect": "NoExecute"} for key in taints]
    return {"spec": {"taints": listed}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


UNREACHABLE, NOT_READY = "node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"


@pytest.mark.parametrize(
    ("subject", "evict", "add", "expected"),
    [
        (node(), True, True, [UNREACHABLE]),
        (node(), True, False, []),
        (node(UNREACHABLE), True, False, [UNREACHABLE]),
        # What is being emptied already is not waited for when the reason changes.
        (node(NOT_READY), True, False, [UNREACHABLE]),
        (node(UNREACHABLE), False, True, []),
        (node(UNREACHABLE, ready="True"), True, True, []),
    ],
)
def test_controller_node_is_emptied_when_its_turn_has_come(
    subject: Any, evict: bool, add: bool, expected: list[str]
) -> None:
    taints = wanted_taints(subject, evict=evict, add=add, now=0.0)
    found = subject["spec"]["taints"] if taints is None else taints
    assert [taint["key"] for taint in found if taint["effect"] == "NoExecute"] == expected


def test_controller_node_ttl_grows_with_the_cluster() -> None:
    step, told = 0, []
    for count in (1, 100, 101, 95, 89, 501, 3000, 1900, 50):
        step = step_for(step, count)
        told.append(seconds_of(step))
    assert told == [0, 0, 15, 15, 0, 30, 300, 300, 0]


@pytest.mark.parametrize(("key", "ready", "off"), [("x", "False", False), ("y", "True", False), ("y", "False", True)])
def test_controller_node_that_is_off(key: str, ready: str, off: bool) -> None:
    assert is_out_of_service(node("node.kubernetes.io/out-of-service" if key == "y" else key, ready=ready)) is off
