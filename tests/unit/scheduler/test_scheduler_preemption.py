"""Preemption: whose place a pod takes, and what it says when it may or can take none."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.decision import look
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.preemption import Preemption, preempt, split_by_budgets, with_claims
from kumo.kubernetes.scheduler.profile import default_profile
from kumo.kubernetes.scheduler.world import World

pytestmark = pytest.mark.unit
PROFILE = default_profile()
GONE = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}


def node(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "pods": "110"}}}


def pod(name: str, on: str = "", cpu: str = "3", priority: int = 0, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": name, "labels": more.pop("labels", {}), **more.pop("meta", {})}
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    status = more.pop("status", {})
    spec = {"containers": [container], "priority": priority, **({"nodeName": on} if on else {}), **more}
    return {"metadata": meta, "spec": spec, "status": status}


def budget(allowed: int, **labels: str) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": labels}} if labels else {"selector": {}}
    return {"metadata": {"namespace": "ns"}, "spec": spec, "status": {"disruptionsAllowed": allowed}}


def tried(wanted: dict[str, Any], pods: list[Any], budgets: tuple[Any, ...] = ()) -> Preemption:
    cache = Cache()
    for name in ("a", "b"):
        cache.set_node(node(name))
    for found in pods:
        cache.set_pod(found)
    verdict = look(PodInfo.of(wanted), World(cache, budgets=lambda: budgets), PROFILE)
    assert not verdict.feasible
    return preempt(verdict, PROFILE, Random(1))


@pytest.mark.parametrize(
    ("pods", "budgets", "expected"),
    [
        ([pod("x", "a", priority=5), pod("y", "b", priority=1)], (), ("b", ["y"])),
        (
            [pod("x", "a", labels={"app": "g"}), pod("y", "b", priority=1)],
            (budget(0, app="g"),),
            ("b", ["y"]),
        ),
        ([pod("x", "a", labels={"app": "g"}), pod("y", "b", priority=1)], (budget(1, app="g"),), ("a", ["x"])),
        (
            [pod("x", "a", "1"), pod("z", "a", "2"), pod("y", "b", "3", priority=1)],
            (),
            ("a", ["z"]),
        ),
        (
            [
                pod("x", "a", status={"startTime": "2026-01-01T00:00:00Z"}),
                pod("y", "b", status={"startTime": "2026-01-02T00:00:00Z"}),
            ],
            (),
            ("b", ["y"]),
        ),
    ],
)
def test_scheduler_preemption_chooses(
    pods: list[Any], budgets: tuple[Any, ...], expected: tuple[str, list[str]]
) -> None:
    found = tried(pod("p", priority=10), pods, budgets)
    assert (found.node, [v.name for v in found.victims]) == expected


def test_scheduler_preemption_is_forbidden_by_policy() -> None:
    found = tried(pod("p", priority=10, preemptionPolicy="Never"), [pod("x", "a"), pod("y", "b")])
    assert (found.message, found.keep) == ("preemption: not eligible due to preemptionPolicy=Never.", True)


def test_scheduler_preemption_waits_for_victims_that_leave() -> None:
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    leaving = pod("x", "a", meta=meta, status={"conditions": [GONE]})
    wanted = pod("p", priority=10, status={"nominatedNodeName": "a"})
    found = tried(wanted, [leaving, pod("y", "b")])
    expected = "preemption: not eligible due to a terminating pod on the nominated node."
    assert (found.message, found.keep) == (expected, True)
    leaving["status"] = {}
    assert tried(wanted, [leaving, pod("y", "b")]).node, "a pod that leaves for another reason keeps nobody waiting"


def test_scheduler_preemption_message_speaks_of_claims_first() -> None:
    found = with_claims(tried(pod("p", cpu="9", priority=10), [pod("x", "a")]))
    expected = "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    assert found.message == f"no new claims to deallocate, preemption: {expected}"
    assert with_claims(Preemption("a")).message == ""


def test_scheduler_preemption_budgets_are_used_up_one_by_one() -> None:
    pods = [PodInfo.of(pod(name, "a", labels={"app": "g"})) for name in ("x", "y", "z")]
    protected = budget(1, app="g")
    protected["status"]["disruptedPods"] = {"x": "2026-01-01T00:00:00Z"}
    violating, others = split_by_budgets(pods, [protected, budget(0)])
    assert ([p.name for p in violating], [p.name for p in others]) == (["z"], ["x", "y"])
