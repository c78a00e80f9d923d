"""Disruption budgets: what they expect, what they allow, and what they say to an eviction."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object, timestamp
from kumo.kubernetes.apiserver.eviction_budgets import goes_uncounted, is_unbudgeted, take
from kumo.kubernetes.controller_manager.disruption.decision import (
    Expected,
    NotFound,
    disrupted,
    expected,
    failed_status,
    healthy,
    next_status,
)
from kumo.kubernetes.controller_manager.disruption.stale import stale_in
from kumo.kubernetes.controller_manager.disruption.words import selector_text
from kumo.kubernetes.controller_manager.volume_protection.usage import class_used, pod_uses

pytestmark = pytest.mark.unit

NOW = 1_000_000.0


def pod(name: str, *, ready: bool = True, owner: str = "u", **meta: Any) -> Object:
    if owner:
        meta["ownerReferences"] = [{"uid": owner, "kind": "ReplicaSet", "name": "r", "controller": True}]
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {"metadata": {"name": name, **meta}, "spec": {}, "status": {"phase": "Running", "conditions": [condition]}}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"minAvailable": 2}, Expected(3, 2)),
        ({"minAvailable": "50%"}, Expected(5, 3)),
        ({"maxUnavailable": 1}, Expected(5, 4)),
        ({"maxUnavailable": "30%"}, Expected(5, 3)),
        ({"maxUnavailable": 9}, Expected(5, 0)),
        ({}, Expected(0, 0)),
    ],
)
def test_what_budgets_expect(spec: Object, wanted: Expected) -> None:
    assert expected(spec, [pod("a"), pod("b"), pod("c")], {"u": 5}) == wanted


def test_pods_without_controllers() -> None:
    assert expected({"maxUnavailable": 1}, [pod("a"), pod("b", owner="")], {"u": 4}) == Expected(4, 3, ["b"])
    with pytest.raises(NotFound, match='found no controllers for pod "a"'):
        expected({"maxUnavailable": 1}, [pod("a")], {})


def test_evicted_pods_are_gone_until_they_are_overdue() -> None:
    noted = {"a": timestamp(NOW - 30), "b": timestamp(NOW - 121), "c": timestamp(NOW), "d": timestamp(NOW)}
    pods = [pod("a"), pod("b"), pod("c", deletionTimestamp=timestamp(NOW)), pod("e"), pod("f", ready=False)]
    found = disrupted({"status": {"disruptedPods": noted}}, pods, NOW)
    assert (list(found.pods), found.recheck, [p["metadata"]["name"] for p in found.overdue]) == (["a"], 90.0, ["b"])
    assert healthy(pods, found.pods) == 2


def budget(status: Object | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": "b", "generation": 1}, "spec": spec, "status": status or {}}


def test_the_next_status_is_written_once() -> None:
    status = next_status(budget(), Expected(3, 2), 3, {}, NOW)
    assert status is not None and status["disruptionsAllowed"] == 1
    assert next_status(budget(status), Expected(3, 2), 3, {}, NOW) is None
    fewer = next_status(budget(status), Expected(3, 2), 2, {"a": timestamp(NOW)}, NOW)
    assert fewer is not None and fewer["disruptionsAllowed"] == 0
    assert fewer["conditions"][0]["reason"] == "InsufficientPods"
    nothing = next_status(budget(), Expected(0, 0), 3, {}, NOW)
    assert nothing is not None and nothing["disruptionsAllowed"] == 0
    failed = failed_status(budget(status), "why", NOW)
    assert failed["disruptionsAllowed"] == 0 and failed["conditions"][0]["reason"] == "SyncFailed"


FULL = {"observedGeneration": 1, "currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": 1}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ({**FULL, "observedGeneration": 0}, 429, "The disruption budget b is still being processed by the server."),
        (
            {**FULL, "disruptionsAllowed": 0, "currentHealthy": 2},
            429,
            "The disruption budget b needs 2 healthy pods and has 2 currently",
        ),
        ({**FULL, "disruptionsAllowed": 0}, 429, "The disruption budget b does not allow evicting pods currently"),
        (
            {
                **FULL,
                "disruptionsAllowed": 0,
                "conditions": [
                    {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "m"}
                ],
            },
            429,
            "The disruption budget b does not allow evicting pods currently because it failed sync: m",
        ),
        ({**FULL, "disruptionsAllowed": -1}, 403, ""),
        ({**FULL, "disruptedPods": {str(i): "x" for i in range(2001)}}, 403, ""),
    ],
)
def test_budgets_refuse(status: Object, code: int, words: str) -> None:
    with pytest.raises(StatusError) as refusal:
        take(budget(status), "p")
    assert refusal.value.code == code
    causes = (refusal.value.details or {}).get("causes") or [{"message": ""}]
    assert causes[0]["message"] == words


def test_budgets_are_charged() -> None:
    charged = budget({**FULL, "disruptedPods": {"o": "x"}})
    take(charged, "p")
    status = charged["status"]
    assert status["disruptionsAllowed"] == 0 and set(status["disruptedPods"]) == {"o", "p"}
    assert status["conditions"][0]["status"] == "False"


@pytest.mark.parametrize(
    ("ready", "policy", "status", "free"),
    [
        (True, "AlwaysAllow", FULL, False),
        (False, "AlwaysAllow", {}, True),
        (False, None, FULL, True),
        (False, "IfHealthyBudget", {**FULL, "currentHealthy": 1}, False),
        (False, None, {**FULL, "desiredHealthy": 0}, False),
    ],
)
def test_unhealthy_pods(ready: bool, policy: str | None, status: Object, free: bool) -> None:
    spec = {"unhealthyPodEvictionPolicy": policy} if policy else {}
    assert goes_uncounted(pod("p", ready=ready), budget(status, **spec)) is free


def test_pods_that_no_budget_is_asked_about() -> None:
    assert not is_unbudgeted(pod("p"))
    assert is_unbudgeted(pod("p", deletionTimestamp=timestamp(NOW)))
    assert is_unbudgeted({**pod("p"), "status": {"phase": "Pending"}})


def test_stale_announcements() -> None:
    target = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": timestamp(NOW), "reason": "x"}
    announced = {**pod("p"), "status": {"phase": "Running", "conditions": [target]}}
    assert stale_in(announced, NOW + 20) == 100.0
    assert stale_in(announced, NOW + 500) == 0.0
    assert stale_in(pod("p"), NOW) is None
    kubelet = {**target, "reason": "TerminationByKubelet"}
    assert stale_in({**announced, "status": {"phase": "Running", "conditions": [kubelet]}}, NOW) is None


def test_what_uses_storage() -> None:
    claim: Object = {"metadata": {"name": "p-e", "namespace": "ns"}}
    user: Object = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}}
    user["spec"] = {"nodeName": "n", "volumes": [{"name": "e", "ephemeral": {}}]}
    assert not pod_uses(user, claim)
    claim["metadata"]["ownerReferences"] = [{"uid": "u", "controller": True}]
    assert pod_uses(user, claim)
    user["metadata"] |= {"deletionTimestamp": timestamp(NOW), "deletionGracePeriodSeconds": 0}
    assert not pod_uses(user, claim)
    user["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "p-e"}}]
    assert pod_uses(user, claim)
    user["spec"].pop("nodeName")
    assert not pod_uses(user, claim)
    assert class_used("fast", [], [{"spec": {"volumeAttributesClassName": "fast"}}])
    assert class_used("fast", [{"status": {"currentVolumeAttributesClassName": "fast"}}], [])
    assert not class_used("fast", [{"spec": {}}], [{"spec": {}}])


def test_controller_disruption_writes_selectors_as_upstream() -> None:
    rule = {"key": "k", "operator": "In", "values": ["a", "b"]}
    empty = "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{},}"
    full = (
        "&LabelSelector{MatchLabels:map[string]string{a: b,x: y,},MatchExpressions:[]LabelSelectorRequirement{"
        "LabelSelectorRequirement{Key:k,Operator:In,Values:[a b],},},}"
    )
    found = [selector_text(s) for s in (None, {}, {"matchLabels": {"x": "y", "a": "b"}, "matchExpressions": [rule]})]
    assert found == ["nil", empty, full]
