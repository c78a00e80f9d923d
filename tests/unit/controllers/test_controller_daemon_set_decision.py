"""What a daemon set's controller decides, by tables."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Key, name_of
from kumo.kubernetes.controller_manager.daemonset import decision, placement, status
from kumo.kubernetes.controller_manager.daemonset.backoff import FailureBackoff
from kumo.kubernetes.controller_manager.daemonset.decision import Plan, State

pytestmark = pytest.mark.unit
NOW = 1_000_000.0
LONG_AGO = "1970-01-12T13:00:00Z"
SECONDS_AGO = "1970-01-12T13:46:37Z"


def daemon_set(unavailable: int | str = 1, surge: int | str = 0, pod: dict[str, Any] | None = None, **spec: Any) -> Any:
    rolling = {"maxUnavailable": unavailable, "maxSurge": surge}
    template = {"metadata": {"labels": {"app": "ds"}}, "spec": {"containers": [], **(pod or {})}}
    spec = {"template": template, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}, **spec}
    meta = {"name": "ds", "namespace": "default", "uid": "ds", "generation": 3}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta, "spec": spec}


def node(name: str, *taints: tuple[str, str], **labels: str) -> Any:
    listed = [{"key": key, "effect": effect} for key, effect in taints]
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": listed}}


def pod(name: str, on: str, digest: str = "new", *, ready: bool = True, phase: str = "Running", **meta: Any) -> Any:
    since, placed = meta.pop("since", LONG_AGO), meta.pop("placed", True)
    field = {"key": "metadata.name", "operator": "In", "values": [on]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]}}
    spec = {"nodeName": on} if placed else {"affinity": {"nodeAffinity": required}}
    labels = {"app": "ds", placement.HASH_LABEL: digest}
    return {
        "metadata": {"name": name, "uid": name, "labels": labels, "creationTimestamp": name, **meta},
        "spec": spec,
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": since}],
        },
    }


def ending(name: str, on: str, digest: str = "new") -> Any:
    return pod(name, on, digest, deletionTimestamp=LONG_AGO)


def state(obj: Any, nodes: list[Any], *pods: Any) -> State:
    return State.of(obj, nodes, placement.by_node(pods), "new", NOW)


def told(made: Plan) -> tuple[list[str], list[str]]:
    return made.create, [name_of(p) for p in made.delete]


NODES = [node("n1"), node("n2")]


@pytest.mark.parametrize(
    ("spec", "where", "wanted"),
    [
        ({}, node("n"), (True, True)),
        ({"nodeName": "other"}, node("n"), (False, False)),
        ({"nodeSelector": {"disk": "ssd"}}, node("n"), (False, False)),
        ({"nodeSelector": {"disk": "ssd"}}, node("n", disk="ssd"), (True, True)),
        ({}, node("n", ("gpu", "NoSchedule")), (False, True)),
        ({}, node("n", ("gpu", "NoExecute")), (False, False)),
        ({}, node("n", ("gpu", "PreferNoSchedule")), (True, True)),
        ({"tolerations": [{"operator": "Exists"}]}, node("n", ("gpu", "NoExecute")), (True, True)),
        ({}, node("n", ("node.kubernetes.io/unreachable", "NoExecute")), (True, True)),
        ({}, node("n", ("node.kubernetes.io/unschedulable", "NoSchedule")), (True, True)),
        ({}, node("n", ("node.kubernetes.io/network-unavailable", "NoSchedule")), (False, True)),
        ({"hostNetwork": True}, node("n", ("node.kubernetes.io/network-unavailable", "NoSchedule")), (True, True)),
    ],
)
def test_controller_daemon_set_nodes(spec: dict[str, Any], where: Any, wanted: tuple[bool, bool]) -> None:
    assert placement.fits(daemon_set(pod=spec), where) == wanted


def test_controller_daemon_set_pods_are_made_for_their_node() -> None:
    obj = daemon_set(pod={"tolerations": [{"key": "mine", "operator": "Exists"}]})
    obj["metadata"]["annotations"] = {placement.GENERATION_ANNOTATION: "7"}
    made = placement.new_pod(obj, "abc", "n1")
    assert placement.target(made) == "n1"
    labels = {"app": "ds", placement.HASH_LABEL: "abc", placement.GENERATION_LABEL: "7"}
    assert made["metadata"]["labels"] == labels
    assert [t["key"] for t in made["spec"]["tolerations"]][:2] == ["mine", "node.kubernetes.io/not-ready"]
    assert placement.is_updated(obj, made, "other") and not placement.is_updated(daemon_set(), made, "other")
    assert "affinity" not in obj["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("obj", "nodes", "pods", "wanted"),
    [
        (daemon_set(), NODES, [], (["n1", "n2"], [])),
        (daemon_set(), NODES, [pod("a", "n1")], (["n2"], [])),
        (daemon_set(), NODES, [ending("a", "n1"), pod("b", "n2")], ([], [])),
        (daemon_set(), NODES, [pod("a", "n1"), pod("b", "n1"), pod("c", "n2")], ([], ["b"])),
        (daemon_set(), NODES[:1], [pod("a", "n1", placed=False), pod("b", "n1")], ([], ["a"])),
        (daemon_set(), NODES[:1], [pod("a", "n1"), pod("b", "gone", placed=False)], ([], ["b"])),
        (daemon_set(), NODES[:1], [pod("a", "n1"), pod("b", "gone")], ([], [])),
        (daemon_set(), [node("n1", ("gpu", "NoExecute"))], [pod("a", "n1")], ([], ["a"])),
        (daemon_set(), [node("n1", ("gpu", "NoSchedule"))], [pod("a", "n1")], ([], [])),
        (daemon_set(surge=1), NODES[:1], [pod("a", "n1", "old"), pod("b", "n1", ready=False)], ([], [])),
        (daemon_set(surge=1), NODES[:1], [pod("a", "n1", "old"), pod("b", "n1")], ([], ["a"])),
        (daemon_set(surge=1), NODES[:1], [pod("a", "n1", "old", ready=False), pod("b", "n1")], ([], ["a"])),
        (daemon_set(surge=1), NODES[:1], [ending("a", "n1")], (["n1"], [])),
    ],
)
def test_controller_daemon_set_manages(obj: Any, nodes: list[Any], pods: list[Any], wanted: Any) -> None:
    assert told(decision.manage(state(obj, nodes, *pods))) == wanted


def test_controller_daemon_set_tells_ended_pods_apart() -> None:
    made = decision.manage(
        state(daemon_set(), NODES, pod("a", "n1", phase="Failed"), pod("b", "n2", phase="Succeeded"))
    )
    assert [(n, name_of(p)) for n, p in made.failed] == [("n1", "a")]
    assert [(n, name_of(p)) for n, p in made.succeeded] == [("n2", "b")]
    assert told(made) == ([], [])


OLD = [pod("a", "n1", "old"), pod("b", "n2", "old")]


@pytest.mark.parametrize(
    ("obj", "nodes", "pods", "wanted"),
    [
        (daemon_set(), NODES, OLD, ([], ["a"])),
        (daemon_set("100%"), NODES, OLD, ([], ["a", "b"])),
        (daemon_set("10%"), NODES, OLD, ([], ["a"])),
        (daemon_set(0, 0), NODES, OLD, ([], ["a"])),
        (daemon_set(), NODES, [pod("a", "n1"), OLD[1]], ([], ["b"])),
        (daemon_set(), NODES, [pod("a", "n1", ready=False), OLD[1]], ([], [])),
        (daemon_set(), NODES, [ending("a", "n1"), OLD[1]], ([], [])),
        (daemon_set(), NODES, [pod("a", "n1", "old", ready=False), OLD[1]], ([], ["a"])),
        (daemon_set(minReadySeconds=10), NODES, [pod("a", "n1", since=SECONDS_AGO), OLD[1]], ([], [])),
        (daemon_set(), NODES, [pod("a", "n1"), pod("b", "n2")], ([], [])),
        (daemon_set(0, 1), NODES, OLD, (["n1"], [])),
        (daemon_set(0, "100%"), NODES, OLD, (["n1", "n2"], [])),
        (daemon_set(0, 1), NODES, [*OLD, pod("c", "n1", ready=False)], ([], [])),
        (daemon_set(0, 1), NODES, [*OLD, pod("c", "n1")], (["n2"], ["a"])),
        (daemon_set(0, 1), NODES, [pod("a", "n1", "old", ready=False), OLD[1]], (["n1", "n2"], [])),
        (daemon_set(0, 1), [NODES[0], node("n2", ("gpu", "NoSchedule"))], OLD, (["n1"], ["b"])),
    ],
)
def test_controller_daemon_set_rolls(obj: Any, nodes: list[Any], pods: list[Any], wanted: Any) -> None:
    assert told(decision.roll(state(obj, nodes, *pods))) == wanted


def test_controller_daemon_set_status() -> None:
    nodes = [*NODES, node("n3"), node("n4", ("gpu", "NoSchedule"))]
    seen = state(
        daemon_set(minReadySeconds=10),
        nodes,
        pod("a", "n1"),
        pod("b", "n2", "old", since=SECONDS_AGO),
        pod("d", "n4"),
    )
    assert status.status(seen, observed=True) == {
        "desiredNumberScheduled": 3,
        "currentNumberScheduled": 2,
        "numberMisscheduled": 1,
        "numberReady": 2,
        "updatedNumberScheduled": 1,
        "numberAvailable": 1,
        "numberUnavailable": 2,
        "observedGeneration": 3,
    }
    assert "observedGeneration" not in status.status(seen, observed=False)
    assert status.next_look(seen) == 7.0


def test_controller_daemon_set_failing_pods_back_off() -> None:
    backoff, key = FailureBackoff(), Key("default", "ds")
    assert backoff.attempt(key, "n1", 0.0) == 0.0
    assert backoff.attempt(key, "n1", 0.25) == 0.75
    assert backoff.attempt(key, "n2", 0.25) == 0.0
    assert backoff.attempt(key, "n1", 1.0) == 0.0
    assert backoff.attempt(key, "n1", 2.0) == 1.0
    assert backoff.attempt(key, "n1", 5000.0) == 0.0
    assert backoff.attempt(key, "n1", 5000.5) == 0.5
    backoff.forget(key)
    assert backoff.attempt(key, "n1", 5000.6) == 0.0
