"""Statuses, phases, conditions, and the patches that write them."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.kubelet.phase import pod_phase
from kumo.kubernetes.kubelet.plan import Health
from kumo.kubernetes.kubelet.podstate import EXITED, RUNNING, ContainerState, PodState, SandboxState
from kumo.kubernetes.kubelet.status import Trouble, View, make_status
from kumo.kubernetes.kubelet.status_writer import difference

pytestmark = pytest.mark.unit

BOX = SandboxState("box", True, 1.0, 0, ("10.0.0.2",))


def pod(policy: str = "Always", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 3},
        "spec": {"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]},
        "status": status,
    }


def status(name: str, state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "state": state, "lastState": last or {}}


ENDED = {"terminated": {"exitCode": 0}}
FAILED = {"terminated": {"exitCode": 1}}


@pytest.mark.parametrize(
    ("policy", "found", "expected"),
    [
        ("Always", [], "Pending"),
        ("Always", [status("a", {"waiting": {}})], "Pending"),
        ("Always", [status("a", {"waiting": {}}, FAILED)], "Running"),
        ("Always", [status("a", {"running": {}})], "Running"),
        ("Always", [status("a", ENDED)], "Running"),
        ("OnFailure", [status("a", ENDED)], "Succeeded"),
        ("OnFailure", [status("a", FAILED)], "Running"),
        ("Never", [status("a", ENDED)], "Succeeded"),
        ("Never", [status("a", FAILED)], "Failed"),
    ],
)
def test_phase(policy: str, found: list[dict[str, Any]], expected: str) -> None:
    assert pod_phase(pod(policy), found) == expected


def test_a_running_container() -> None:
    running = ContainerState("c1", "a", RUNNING, "box", 1.0, 2.0, image="docker.io/i:1", image_id="sha256:x")
    made = make_status(pod(), View(PodState([BOX], [running]), host_ips=("192.0.2.1",)), 100.0)
    assert made["phase"] == "Running"
    assert made["podIPs"] == [{"ip": "10.0.0.2"}]
    assert made["observedGeneration"] == 3
    assert made["containerStatuses"] == [
        {
            "name": "a",
            "image": "docker.io/i:1",
            "imageID": "sha256:x",
            "containerID": "containerd://c1",
            "restartCount": 0,
            "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}},
            "lastState": {},
            "started": True,
            "ready": True,
            "resources": {},
        }
    ]
    ready = next(c for c in made["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["lastTransitionTime"]) == ("True", "1970-01-01T00:01:40Z")


def test_readiness_needs_its_probe() -> None:
    running = ContainerState("c1", "a", RUNNING, "box", 1.0, 2.0)
    spec = pod()
    spec["spec"]["containers"][0]["readinessProbe"] = {}
    for health, expected in ((Health("c1", True, True), True), (Health("c0", True, True), False)):
        made = make_status(spec, View(PodState([BOX], [running]), {"a": health}), 100.0)
        assert made["containerStatuses"][0]["ready"] is expected


def test_a_container_that_waits_keeps_its_last_end() -> None:
    ended = ContainerState("c1", "a", EXITED, "box", 1.0, 2.0, 3.0, 1, "Error", restarts=4)
    view = View(PodState([BOX], [ended]), troubles={"a": Trouble("CrashLoopBackOff", "back-off 8s")})
    found = make_status(pod(), view, 100.0)["containerStatuses"][0]
    assert found["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 8s"}}
    assert found["lastState"]["terminated"]["exitCode"] == 1
    assert found["restartCount"] == 4


def test_a_container_that_vanished_is_unknown_once_the_pod_is_over() -> None:
    old = [{"name": "a", "state": {"running": {}}, "restartCount": 0, "containerID": "containerd://x"}]
    made = make_status(pod("Never", containerStatuses=old), View(PodState(), terminal=True), 100.0)
    assert made["containerStatuses"][0]["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert made["phase"] == "Failed"


def test_conditions_of_others_and_times_are_kept() -> None:
    theirs = {"type": "example.com/gate", "status": "True"}
    before = {"type": "Ready", "status": "True", "lastTransitionTime": "then"}
    running = ContainerState("c1", "a", RUNNING, "box", 1.0, 2.0)
    made = make_status(pod(conditions=[theirs, before]), View(PodState([BOX], [running])), 100.0)
    assert theirs in made["conditions"]
    assert next(c for c in made["conditions"] if c["type"] == "Ready")["lastTransitionTime"] == "then"


def test_readiness_gates() -> None:
    spec = pod()
    spec["spec"]["readinessGates"] = [{"conditionType": "example.com/gate"}]
    running = ContainerState("c1", "a", RUNNING, "box", 1.0, 2.0)
    made = make_status(spec, View(PodState([BOX], [running])), 100.0)
    ready = next(c for c in made["conditions"] if c["type"] == "Ready")
    assert ready["message"] == 'corresponding condition of pod readiness gate "example.com/gate" does not exist.'


def test_the_patch_holds_only_what_changed_and_removes_what_is_gone() -> None:
    old = {
        "phase": "Pending",
        "podIPs": [{"ip": "10.0.0.1"}],
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "False", "reason": "X"}, {"type": "Other", "status": "True"}],
    }
    new = {
        "phase": "Pending",
        "podIPs": [{"ip": "10.0.0.2"}],
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}],
    }
    assert difference(old, new) == {
        "podIPs": [{"ip": "10.0.0.2"}, {"$patch": "replace"}],
        "podIP": None,
        "conditions": [{"type": "Ready", "status": "True", "reason": None}],
    }
    assert difference(new, new) == {}
