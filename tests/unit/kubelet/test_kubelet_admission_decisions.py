"""Who ends for a critical pod, who has how long when the machine goes down, which kernel settings are allowed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kumo.api.durations import go_duration, go_text
from kumo.api.objects import Object
from kumo.kubernetes.kubelet.admission import Refusal, judge, shortages
from kumo.kubernetes.kubelet.ending import Ending
from kumo.kubernetes.kubelet.image_collector import KnownImage, aged
from kumo.kubernetes.kubelet.preemption.victims import NoVictims, preemptable, victims
from kumo.kubernetes.kubelet.shutdown.periods import by_priority, grouped, requested
from kumo.kubernetes.kubelet.sysctls import Allowlist

pytestmark = pytest.mark.unit
CRITICAL = 2_000_000_000
MI = 1 << 20


def pod(name: str, *, cpu: str = "", memory: str = "", exact: bool = False, priority: int | None = None) -> Object:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    resources: dict[str, Any] = {"requests": requests} | ({"limits": requests} if exact else {})
    spec: dict[str, Any] = {"containers": [{"name": "c", "resources": resources}]}
    if priority is not None:
        spec["priority"] = priority
    return {"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": spec}


BEST = pod("best")
SMALL, BIG = pod("small", cpu="100m", memory="100Mi"), pod("big", cpu="300m", memory="300Mi")
DEAR = pod("dear", cpu="200m", memory="200Mi", exact=True)
MINE = pod("mine", cpu="1", memory="1Gi", priority=CRITICAL)


@pytest.mark.parametrize(
    ("running", "needs", "names"),
    [
        ([BEST, SMALL, BIG, DEAR], {"cpu": 100}, ["small"]),
        ([BEST, SMALL, BIG, DEAR], {"cpu": 250}, ["big"]),  # one that is large enough rather than several
        ([BEST, SMALL, BIG, DEAR], {"memory": 350 * MI}, ["big", "small"]),
        ([BEST, SMALL, BIG, DEAR], {"memory": 450 * MI}, ["big", "dear"]),  # with the dear one, the small may stay
        ([BEST, SMALL, BIG, DEAR], {"cpu": 600}, ["big", "small", "dear"]),
        ([BEST, SMALL], {"pods": 1}, ["best"]),
        ([BEST, SMALL], {"pods": 1, "cpu": 100}, ["small"]),
        ([SMALL, BIG], {}, []),
        ([pod("system", cpu="1", priority=CRITICAL + 5), SMALL], {"cpu": 50}, ["small"]),
    ],
)
def test_who_ends_for_a_critical_pod(running: list[Object], needs: dict[str, int], names: list[str]) -> None:
    assert [p["metadata"]["name"] for p in victims(MINE, running, needs)] == names


def test_nobody_ends_when_that_would_not_do() -> None:
    with pytest.raises(NoVictims) as found:
        victims(MINE, [SMALL, pod("system", cpu="9", priority=CRITICAL)], {"cpu": 150, "memory": MI})
    assert str(found.value) == "no set of running pods found to reclaim resources: [(res: cpu, q: 50), ]"


def test_who_may_end_for_whom() -> None:
    assert preemptable(MINE, SMALL)
    assert not preemptable(SMALL, MINE)
    assert preemptable(pod("more", priority=CRITICAL + 1), MINE)
    assert not preemptable(MINE, pod("same", priority=CRITICAL))
    static = pod("static")
    static["metadata"]["annotations"] = {"kubernetes.io/config.source": "file"}
    assert preemptable(static, SMALL)
    assert not preemptable(MINE, static)


def test_what_is_missing() -> None:
    node = {
        "metadata": {"name": "n"},
        "spec": {},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "1"}},
    }
    found = list(shortages(MINE, node, [SMALL]))
    assert [(s.resource, s.missing) for s in found] == [("pods", 1), ("cpu", 100), ("memory", 100 * MI)]
    assert found[1].refusal() == Refusal(
        "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1000, used: 100, capacity: 1000"
    )
    # Nobody ends for a pod that could not run here anyway.
    chosen = {**MINE, "spec": MINE["spec"] | {"nodeSelector": {"a": "b"}}}
    refusal = judge(chosen, node, [SMALL])
    assert refusal is not None
    assert refusal.reason == "NodeAffinity"
    plain = {**SMALL, "spec": chosen["spec"] | {"priority": 0}}
    refusal = judge(plain, node, [SMALL])
    assert refusal is not None
    assert refusal.reason == "OutOfpods"


def test_periods() -> None:
    assert by_priority(30.0, 10.0) == ((0, 20), (CRITICAL, 10))
    assert by_priority(0.0, 0.0) == ()
    given = [{"priority": 100, "shutdownGracePeriodSeconds": 5}, {"shutdownGracePeriodSeconds": 7}]
    assert by_priority(0.0, 0.0, given) == ((0, 7), (100, 5))
    assert requested(((0, 7), (100, 5))) == 12


@pytest.mark.parametrize(
    ("priority", "group"), [(-5, 0), (0, 0), (99, 0), (100, 1), (999, 1), (1000, 2), (CRITICAL, 2)]
)
def test_who_ends_when(priority: int, group: int) -> None:
    found = grouped(((0, 3), (100, 2), (1000, 1)), [(priority, "pod")])
    assert found == [(seconds, ["pod"] if i == group else []) for i, seconds in enumerate((3, 2, 1))]


def with_sysctl(name: str, **spec: Any) -> Object:
    return {"metadata": {}, "spec": {"securityContext": {"sysctls": [{"name": name, "value": "1"}]}, **spec}}


@pytest.mark.parametrize(
    ("patterns", "name", "spec", "why"),
    [
        ((), "kernel.shmmax", {}, '"kernel.shmmax" not allowlisted'),
        (("kernel.shm*",), "kernel.shmmax", {}, ""),
        (("kernel.shm*",), "kernel.shmmax", {"hostIPC": True}, '"kernel.shmmax" not allowed with host IPC enabled'),
        (("kernel.shm*",), "kernel.msgmax", {}, '"kernel.msgmax" not allowlisted'),
        (("net.*",), "net.core.somaxconn", {}, ""),
        (("net.core.somaxconn",), "net/core/somaxconn", {}, ""),
        (("net.*",), "net.core.x", {"hostNetwork": True}, '"net.core.x" not allowed with host Net enabled'),
        (("fs.mqueue.*",), "fs.mqueue.msg_max", {}, ""),
    ],
)
def test_allowed_kernel_settings(patterns: tuple[str, ...], name: str, spec: Any, why: str) -> None:
    found = Allowlist(patterns).forbidden(with_sysctl(name, **spec))
    assert found == (f"forbidden sysctl: {why}" if why else "")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("vm.swappiness", 'the sysctls "vm.swappiness" are not known to be namespaced'),
        ("kernel.*", 'the sysctls "kernel." are not known to be namespaced'),
        ("Net.x", 'sysctl "Net.x" must have at most 253 characters and match regex '),
        ("net.*.x", "must have at most 253 characters"),
        ("net." + "x" * 253, "must have at most 253 characters"),
        ("", "must have at most 253 characters"),
    ],
)
def test_patterns_that_can_not_be(pattern: str, said: str) -> None:
    with pytest.raises(ValueError) as found:
        Allowlist([pattern])
    assert said in str(found.value)


def test_causes() -> None:
    cause = Ending("Terminated", "why", "2026-01-01T00:00:00Z", "said", 3.0)
    assert cause.seconds(30.0) == 3.0
    assert Ending("Preempting", "why", "t").seconds(30.0) == 30.0
    assert Ending("Evicted", "why", "t").conditions(1) == []
    assert cause.conditions(4) == [
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": "said",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "lastProbeTime": None,
            "observedGeneration": 4,
        }
    ]


def test_images_that_are_too_old() -> None:
    images = [
        KnownImage("old", 1, 0.0),
        KnownImage("used", 1, 0.0, 900.0),
        KnownImage("in use", 1, 0.0),
        KnownImage("new", 1, 950.0),
    ]
    assert [i.id for i in aged(images, {"in use"}, 1000.0, 500.0, 100.0)] == ["old"]
    assert [i.id for i in aged(images, set(), 1000.0, 60.0, 60.0)] == ["old", "in use", "used"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1.5, "1.5s"), (120, "2m0s"), (0.1, "100ms"), (14400, "4h0m0s"), (3661.25, "1h1m1.25s"), (-5, "-5s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert go_text(seconds) == text
    assert go_duration(text) == pytest.approx(seconds)


async def test_a_preemptor_tries_again_when_others_take_what_is_free() -> None:
    from kumo.kubernetes.kubelet.preemption.preemptor import Preemptor

    ended: list[str] = []

    class Worker:
        def __init__(self, name: str) -> None:
            self.uid, self.pod, self.over = name, pod(name, cpu="100m"), asyncio.Event()

        def end(self, cause: Ending, *, event: str = "") -> None:
            assert (cause.reason, cause.message, event) == (
                "Preempting",
                "Preempted in order to admit critical pod",
                "Preempting",
            )
            ended.append(self.uid)
            workers.remove(self)
            self.over.set()

    class Allocations:
        """Full until two pods have ended: the room of the first is taken by another."""

        def admit(self, _: Object) -> Refusal | None:
            return None if len(ended) > 1 else Refusal("OutOfcpu", "no")

        def missing(self, _: Object) -> dict[str, int]:
            return {"cpu": 100}

        def book(self, _: str) -> bool:
            return True

        def given(self, found: Object) -> Object:
            return found

    workers = [Worker("a"), Worker("b"), Worker("c")]
    preemptor = Preemptor(Allocations(), lambda: list(workers))  # type: ignore[arg-type]
    assert await preemptor.admit(SMALL, Refusal("OutOfcpu", "no")) == Refusal("OutOfcpu", "no")
    other = Refusal("NodePorts", "no")
    assert await preemptor.admit(MINE, other) == other
    assert await preemptor.admit(MINE, Refusal("OutOfcpu", "no")) is None
    assert len(ended) == 2
    workers.clear()
    ended.clear()
    found = await preemptor.admit(MINE, Refusal("OutOfcpu", "no"))
    assert found == Refusal(
        "UnexpectedAdmissionError",
        "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods "
        "to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 100), ]",
    )
