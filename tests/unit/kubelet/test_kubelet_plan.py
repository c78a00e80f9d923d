"""What the kubelet decides to do next, from a pod and its state."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.kubelet.plan import Health, make_plan
from kumo.kubernetes.kubelet.podstate import CREATED, EXITED, RUNNING, ContainerState, PodState, SandboxState

pytestmark = pytest.mark.unit

BOX = SandboxState("box", True, 1.0, 0, ("10.0.0.2",))


def pod(policy: str = "Always", *, init: tuple[str, ...] = (), sidecars: tuple[str, ...] = ()) -> dict[str, Any]:
    """A pod with the containers a and b."""
    inits = [{"name": n} for n in init] + [{"name": n, "restartPolicy": "Always"} for n in sidecars]
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"restartPolicy": policy, "initContainers": inits, "containers": [{"name": "a"}, {"name": "b"}]},
    }


def state(*containers: ContainerState, box: SandboxState | None = BOX) -> PodState:
    return PodState([box] if box else [], list(containers))


def container(name: str, what: str = RUNNING, code: int = 0, box: str = "box") -> ContainerState:
    return ContainerState(f"id-{name}", name, what, box, 1.0, 2.0, 3.0 if what == EXITED else 0.0, code)


def names(containers: list[dict[str, Any]]) -> list[str]:
    return [c["name"] for c in containers]


def test_a_new_pod_gets_a_sandbox_and_all_its_containers() -> None:
    plan = make_plan(pod(), state(box=None), {})
    assert (plan.create_sandbox, plan.attempt, plan.kill_pod, names(plan.start)) == (True, 0, False, ["a", "b"])


def test_a_new_pod_with_init_containers_starts_the_first_alone() -> None:
    plan = make_plan(pod(init=("i", "j")), state(box=None), {})
    assert (plan.create_sandbox, names(plan.start)) == (True, ["i"])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], ["i"]),
        ([container("i", CREATED)], ["i"]),
        ([container("i")], []),
        ([container("i", EXITED, 1)], ["i"]),
        ([container("i", EXITED)], ["j"]),
        ([container("i", EXITED), container("j", EXITED)], ["a", "b"]),
    ],
)
def test_init_containers_run_one_after_the_other(found: list[ContainerState], expected: list[str]) -> None:
    assert names(make_plan(pod(init=("i", "j")), state(*found), {}).start) == expected


def test_a_failed_init_container_ends_a_pod_that_is_never_restarted() -> None:
    plan = make_plan(pod("Never", init=("i",)), state(container("i", EXITED, 1)), {})
    assert (plan.kill_pod, plan.start) == (True, [])


def test_init_containers_of_an_older_sandbox_run_again() -> None:
    found = [container("i", EXITED, box="older")]
    assert names(make_plan(pod(init=("i",)), state(*found), {}).start) == ["i"]


def test_regular_containers_wait_for_the_start_of_a_sidecar() -> None:
    spec = pod(sidecars=("s",))
    assert names(make_plan(spec, state(), {}).start) == ["s"]
    assert names(make_plan(spec, state(container("s")), {}).start) == ["a", "b"]
    spec["spec"]["initContainers"][0]["startupProbe"] = {}
    assert names(make_plan(spec, state(container("s")), {}).start) == []
    assert names(make_plan(spec, state(container("s")), {"s": Health("id-s", started=True)}).start) == ["a", "b"]


def test_an_ended_sidecar_is_restarted_beside_running_containers() -> None:
    found = [container("s", EXITED, 1), container("a"), container("b")]
    assert names(make_plan(pod(sidecars=("s",)), state(*found), {}).start) == ["s"]


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [("Always", 0, ["a"]), ("Always", 1, ["a"]), ("OnFailure", 0, []), ("OnFailure", 1, ["a"]), ("Never", 1, [])],
)
def test_ended_containers_are_restarted_as_the_policy_says(policy: str, code: int, expected: list[str]) -> None:
    plan = make_plan(pod(policy), state(container("a", EXITED, code), container("b")), {})
    assert (names(plan.start), plan.kill_pod) == (expected, False)


def test_when_all_have_ended_the_pod_is_stopped_with_its_sidecars() -> None:
    found = [container("s"), container("a", EXITED), container("b", EXITED)]
    plan = make_plan(pod("Never", sidecars=("s",)), state(*found), {})
    assert (plan.kill_pod, plan.start) == (True, [])


def test_a_dead_sandbox_is_replaced() -> None:
    dead = SandboxState("box", False, 1.0, 2)
    found = [container("a", EXITED, 137), container("b", EXITED, 137)]
    plan = make_plan(pod(), state(*found, box=dead), {})
    assert (plan.kill_pod, plan.create_sandbox, plan.attempt, names(plan.start)) == (True, True, 3, ["a", "b"])
    plan = make_plan(pod("Never"), state(*found, box=dead), {})
    assert (plan.create_sandbox, plan.start) == (False, [])


def test_a_container_that_failed_its_liveness_probe_is_killed_and_restarted() -> None:
    health = {"a": Health("id-a", started=True, liveness_failed=True)}
    plan = make_plan(pod(), state(container("a"), container("b")), health)
    assert [(k.container.name, k.message) for k in plan.kill] == [
        ("a", "Container a failed liveness probe, will be restarted")
    ]
    assert names(plan.start) == ["a"]
    stale = {"a": Health("another", started=True, liveness_failed=True)}
    assert make_plan(pod(), state(container("a"), container("b")), stale).kill == []
