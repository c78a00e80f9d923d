"""What a hollow node says about a pod, by tables: the pod and the time in, the next step out."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import timestamp
from kumo.kubernetes.hollow_node.addresses import PodAddresses
from kumo.kubernetes.hollow_node.admission import ACCEPTED, refusal
from kumo.kubernetes.hollow_node.config import (
    EXIT_CODE,
    READY,
    RUN_SECONDS,
    START_SECONDS,
    STOP_SECONDS,
    HollowConfig,
)
from kumo.kubernetes.hollow_node.lifecycle import Step, next_step
from kumo.kubernetes.hollow_node.node import node_object, node_status
from kumo.kubernetes.hollow_node.statuses import Place

pytestmark = pytest.mark.unit
NOW = 1_000_000.0
PLACE = Place("198.18.0.1", lambda: "10.0.0.7")


def pod(*, notes: dict[str, str] | None = None, status: Any = None, **spec: Any) -> dict[str, Any]:
    meta = {
        "name": "p",
        "namespace": "default",
        "uid": "u",
        "generation": 1,
        "creationTimestamp": timestamp(NOW),
        "annotations": notes or {},
    }
    return {
        "metadata": meta,
        "spec": {"containers": [{"name": "c", "image": "busybox"}], **spec},
        "status": status or {"phase": "Pending"},
    }


def step(found: dict[str, Any], *, at: float = NOW, refused: tuple[str, str] = ACCEPTED) -> Step:
    return next_step(found, PLACE, refused, at)


def after(found: dict[str, Any], *, at: float = NOW) -> dict[str, Any]:
    """The pod with what the node wrote at that time."""
    written = step(found, at=at).status
    assert written is not None
    return {**found, "status": {**found["status"], **written}}


def ready(found: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in found["status"]["conditions"] if c["type"] == "Ready")


def test_hollow_pod_runs_at_once_and_nothing_more_is_written() -> None:
    running = after(pod())
    assert (running["status"]["phase"], running["status"]["podIP"]) == ("Running", "10.0.0.7")
    assert ready(running)["status"] == "True"
    assert running["status"]["containerStatuses"][0]["state"]["running"]
    assert step(running, at=NOW + 60) == Step()


def test_hollow_pod_waits_for_its_start() -> None:
    waiting = pod(notes={START_SECONDS: "5"})
    assert step(waiting, at=NOW + 2) == Step(after=3.0)
    assert step(waiting, at=NOW + 5).status is not None


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", "0", "Succeeded"), ("OnFailure", "0", "Succeeded"), ("Never", "3", "Failed"), ("Always", "0", None)],
)
def test_hollow_pod_ends_when_it_is_told(policy: str, code: str, phase: str | None) -> None:
    wanted = pod(notes={RUN_SECONDS: "10", EXIT_CODE: code}, restartPolicy=policy)
    assert step(wanted).after == (10.0 if phase else None)
    running = after(wanted)
    assert step(running, at=NOW + 4).status is None
    ended = step(running, at=NOW + 10).status
    assert (ended or {}).get("phase") == phase
    if ended is not None:
        assert ended["containerStatuses"][0]["state"]["terminated"]["exitCode"] == int(code)


def test_hollow_pod_is_killed_at_its_deadline() -> None:
    running = after(pod(activeDeadlineSeconds=30))
    assert step(running, at=NOW + 10).after == pytest.approx(20.0)
    killed = step(running, at=NOW + 30).status
    assert killed is not None and (killed["phase"], killed["reason"]) == ("Failed", "DeadlineExceeded")


def test_hollow_pod_that_is_deleted_ends_and_goes() -> None:
    running = after(pod(notes={STOP_SECONDS: "4"}))
    running["metadata"] |= {"deletionTimestamp": timestamp(NOW + 130), "deletionGracePeriodSeconds": 30}
    assert step(running, at=NOW + 101) == Step(after=3.0)
    last = step(running, at=NOW + 104)
    assert last.gone and last.status is not None and last.status["phase"] == "Succeeded"
    ended = {**running, "status": {**running["status"], **last.status}}
    assert step(ended, at=NOW + 104) == Step(gone=True)


def test_hollow_init_containers_have_done_their_work_and_sidecars_run() -> None:
    first = [{"name": "i", "image": "x"}, {"name": "s", "image": "x", "restartPolicy": "Always"}]
    statuses = after(pod(initContainers=first))["status"]["initContainerStatuses"]
    assert statuses[0]["state"]["terminated"]["reason"] == "Completed" and statuses[1]["state"]["running"]


def test_hollow_container_of_another_image_is_another_container() -> None:
    running = after(pod())
    running["spec"] = {**running["spec"], "containers": [{"name": "c", "image": "other"}]}
    status = after(running, at=NOW + 5)["status"]["containerStatuses"][0]
    assert (status["image"], status["restartCount"]) == ("other", 1)
    assert status["lastState"]["terminated"]["exitCode"] == 137


def test_hollow_pod_may_be_unready_and_readiness_gates_count() -> None:
    assert ready(after(pod(notes={READY: "false"})))["reason"] == "ContainersNotReady"
    gated = after(pod(readinessGates=[{"conditionType": "example.com/x"}]))
    assert ready(gated)["reason"] == "ReadinessGatesNotReady"
    gated["status"]["conditions"].append({"type": "example.com/x", "status": "True"})
    assert ready(after(gated))["status"] == "True"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/etc", "error SubPath `/etc` must not be an absolute path"),
        ("..", "unable to provision SubPath `..`: must not contain '..'"),
    ],
)
def test_hollow_container_with_a_bad_sub_path_is_stuck(value: str, message: str) -> None:
    container = {
        "name": "c",
        "image": "x",
        "env": [{"name": "V", "value": value}],
        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(V)"}],
    }
    stuck = after(pod(containers=[container]))
    waiting = stuck["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": message}
    assert step(stuck, at=NOW + 9) == Step()


def test_hollow_pod_that_is_refused_has_failed() -> None:
    status = step(pod(), refused=("NodePorts", "Predicate NodePorts failed")).status
    assert status is not None
    assert (status["phase"], status["reason"]) == ("Failed", "NodePorts")


def request(uid: str, cpu: str = "", port: int = 0) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    if port:
        container["ports"] = [{"hostPort": port}]
    return {"metadata": {"uid": uid}, "spec": {"containers": [container]}}


@pytest.mark.parametrize(
    ("wanted", "there", "reason"),
    [
        (request("a", cpu="2"), [request("b", cpu="2")], ""),
        (request("a", cpu="3"), [request("b", cpu="2")], "OutOfcpu"),
        (request("a", cpu="3"), [request("a", cpu="3")], ""),
        (request("a", port=80), [request("b", port=80)], "NodePorts"),
        (request("a"), [request("b"), request("c")], "OutOfpods"),
    ],
)
def test_hollow_node_refuses_what_does_not_fit(wanted: Any, there: list[Any], reason: str) -> None:
    assert refusal(wanted, there, {"cpu": "4", "pods": "2"})[0] == reason


def test_hollow_addresses_are_given_once_and_come_back() -> None:
    addresses = PodAddresses()
    given = [addresses.take("10.0.0.0/29") for _ in range(5)]
    assert given == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    assert addresses.take("10.0.0.0/29").startswith("100.64.")
    addresses.release("10.0.0.4")
    assert addresses.take("10.0.0.0/29") == "10.0.0.4"


def test_hollow_nodes_take_turns_at_labels_and_keep_transition_times() -> None:
    config = HollowConfig(
        count=3, prefix="h", labels={"zone": ("a", "b")}, taints=({"key": "k", "effect": "NoSchedule"},)
    )
    assert config.names() == ["h0", "h1", "h2"]
    nodes = [node_object(config, i) for i in range(3)]
    assert [n["metadata"]["labels"]["zone"] for n in nodes] == ["a", "b", "a"]
    assert nodes[0]["spec"]["taints"] == [{"key": "k", "effect": "NoSchedule"}]
    old = {"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "then"}]}}
    conditions = {c["type"]: c for c in node_status(config, 0, old)["conditions"]}
    assert conditions["Ready"]["lastTransitionTime"] == "then" != conditions["DiskPressure"]["lastTransitionTime"]
