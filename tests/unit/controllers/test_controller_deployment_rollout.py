"""Rollouts played through in memory: plans are applied, pods become ready when the play says so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumo.api import conditions
from kumo.kubernetes.controller_manager.deployment import scaling
from kumo.kubernetes.controller_manager.deployment.rollout import Plan, State, plan
from kumo.kubernetes.controller_manager.deployment.sets import Limits, Set, limits
from kumo.kubernetes.controller_manager.deployment.templates import HASH_LABEL, same, template_hash

pytestmark = pytest.mark.unit


def deployment(replicas: int = 3, image: str = "a:1", **spec: Any) -> Any:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1, "annotations": {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            **spec,
        },
        "status": {},
    }


class Play:
    """A deployment with its replica sets, all in memory; `ready` of a set never exceeds what it wants."""

    def __init__(self, subject: Any) -> None:
        self.deployment = subject
        self.sets: dict[str, Any] = {}
        self.now = 1_000_000.0

    def values(self) -> tuple[Set, ...]:
        return tuple(Set.of(s) for s in self.sets.values())

    def step(self) -> Plan:
        self.now += 1
        made = plan(State(self.deployment, self.values(), False, self.now))
        if made.create is not None:
            name = made.create["metadata"]["name"]
            assert name not in self.sets
            made.create["metadata"] |= {"uid": name, "creationTimestamp": f"{len(self.sets):04}", "generation": 1}
            self.sets[name] = made.create
        if made.update is not None:
            self.sets[made.update["metadata"]["name"]] = made.update
        for found, size in made.resizes:
            obj = self.sets[found.name]
            obj["spec"]["replicas"] = size
            notes = obj["metadata"]["annotations"]
            wanted = self.deployment["spec"]["replicas"]
            notes["deployment.kubernetes.io/desired-replicas"] = str(wanted)
            notes["deployment.kubernetes.io/max-replicas"] = str(wanted + limits(self.deployment).surge)
        for found in made.forget:
            del self.sets[found.name]
        if made.revision:
            self.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = made.revision
        if made.status is not None:
            self.deployment["status"] = made.status
        return made

    def pods(self, *, ready: bool = True) -> None:
        """Pods appear and go as wanted; with `ready`, one more in each set becomes available."""
        for obj in self.sets.values():
            wanted, status = obj["spec"]["replicas"], obj.setdefault("status", {})
            available = min(int(status.get("availableReplicas") or 0) + int(ready), wanted)
            obj["status"] = {
                "replicas": wanted,
                "readyReplicas": available,
                "availableReplicas": available,
                "observedGeneration": 1,
            }

    def settle(self, rounds: int = 200) -> None:
        for _ in range(rounds):
            before = (repr(self.sets), repr(self.deployment))
            self.step()
            self.pods()
            if before == (repr(self.sets), repr(self.deployment)):
                return
        raise AssertionError("the rollout does not come to rest")

    def sizes(self) -> dict[str, int]:
        return {
            s["spec"]["template"]["spec"]["containers"][0]["image"]: s["spec"]["replicas"] for s in self.sets.values()
        }

    def reason(self, kind: str = "Progressing") -> tuple[str, str]:
        found = conditions.condition(self.deployment, kind) or {}
        return found["reason"], found["message"]

    def change(self, image: str) -> None:
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.deployment["metadata"]["generation"] += 1


def test_controller_deployment_rolls_to_a_new_template_and_back() -> None:
    play = Play(deployment())
    play.settle()
    first = next(iter(play.sets))
    assert play.sizes() == {"a:1": 3}
    assert play.reason() == ("NewReplicaSetAvailable", f'ReplicaSet "{first}" has successfully progressed.')
    assert play.reason("Available") == ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    play.change("a:2")
    play.settle()
    assert play.sizes() == {"a:1": 0, "a:2": 3}
    assert play.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    play.change("a:1")
    play.settle()
    assert play.sizes() == {"a:1": 3, "a:2": 0}
    notes = play.sets[first]["metadata"]["annotations"]
    assert notes["deployment.kubernetes.io/revision"] == "3"
    assert notes["deployment.kubernetes.io/revision-history"] == "1"


def test_controller_deployment_recreate_waits_until_old_pods_are_gone() -> None:
    play = Play(deployment(strategy={"type": "Recreate"}))
    play.settle()
    play.change("a:2")
    made = play.step()
    assert [size for _, size in made.resizes] == [0]
    waiting = plan(State(play.deployment, play.values(), True, play.now))
    assert (waiting.create, waiting.resizes) == (None, [])
    play.pods()
    play.settle()
    assert play.sizes() == {"a:1": 0, "a:2": 3}


def test_controller_deployment_paused_does_not_roll_but_scales() -> None:
    play = Play(deployment())
    play.settle()
    play.deployment["spec"]["paused"] = True
    play.change("a:2")
    play.deployment["spec"]["replicas"] = 5
    play.settle()
    assert play.sizes() == {"a:1": 5}
    assert play.reason() == ("DeploymentPaused", "Deployment is paused")
    play.deployment["spec"]["paused"] = False
    play.settle()
    assert play.sizes() == {"a:1": 0, "a:2": 5}


def test_controller_deployment_says_when_its_deadline_is_over() -> None:
    play = Play(deployment())
    play.settle()
    play.change("a:bad")
    for _ in range(5):
        play.step()
        play.pods(ready=False)
    assert (play.step().again or 0) > 0
    play.now += 700
    play.step()
    bad = next(n for n, s in play.sets.items() if s["spec"]["template"]["spec"]["containers"][0]["image"] == "a:bad")
    assert play.reason() == ("ProgressDeadlineExceeded", f'ReplicaSet "{bad}" has timed out progressing.')


def test_controller_deployment_keeps_only_so_much_history() -> None:
    play = Play(deployment(revisionHistoryLimit=2))
    for number in range(1, 6):
        play.change(f"a:{number}")
        play.settle()
    assert play.sizes() == {"a:3": 0, "a:4": 0, "a:5": 3}


def test_controller_deployment_scales_by_proportion_in_mid_rollout() -> None:
    def of(name: str, wanted: int, created: str) -> Set:
        return Set(name, name, created, 1, wanted, wanted, wanted, wanted, 10, 13, True, {})

    old, new = of("old", 8, "1"), of("new", 5, "2")
    sizes = scaling.scale(new, [old], 15, 13, Limits(4, 3), rolling=True)
    assert sizes == {"old": 12, "new": 7}


@given(
    replicas=st.integers(1, 12),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    ready=st.lists(st.booleans(), max_size=25),
)
@settings(max_examples=60, deadline=None)
def test_controller_deployment_stays_within_surge_and_unavailable(
    replicas: int, surge: int, unavailable: int, ready: list[bool]
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    play = Play(deployment(replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling}))
    play.settle()
    allowed = limits(play.deployment)
    play.change("a:2")
    for becomes_ready in ready:
        play.step()
        sizes = play.sizes()
        assert sum(sizes.values()) <= replicas + allowed.surge
        still = sum(
            min(s["spec"]["replicas"], (s.get("status") or {}).get("availableReplicas", 0)) for s in play.sets.values()
        )
        assert still >= replicas - allowed.unavailable
        play.pods(ready=becomes_ready)
    play.settle()
    assert play.sizes() == {"a:1": 0, "a:2": replicas}


def test_controller_deployment_template_hash_is_stable_and_safe() -> None:
    template = {"metadata": {"labels": {"a": "b"}, "creationTimestamp": None}, "spec": {"containers": []}}
    digest = template_hash(template)
    assert digest == template_hash({"spec": {"containers": []}, "metadata": {"labels": {"a": "b"}}})
    assert digest != template_hash(template, 1)
    assert set(digest) <= set("bcdfghjklmnpqrstvwxz2456789")
    hashed = {**template, "metadata": {"labels": {"a": "b", HASH_LABEL: digest}}}
    assert same(template, hashed)
