"""How many replicas an autoscaler wants, how fast it may have them, and what it says: tables of upstream's answers."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object, timestamp
from kumo.kubernetes.controller_manager.discovery import Discovery
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler import decision as d
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler import replicas as r
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.behavior import Memory, Timed, normalize
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.config import AutoscalerConfig
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.failures import Uncomputable
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.grouping import Groups, Sample, group
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.metrics import Failed, Fetched, Situation, compute
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.requests import requests
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.sources import fetch, seconds

pytestmark = pytest.mark.unit

NOW = 1_000_000.0
TENTH = r.Tolerance(0.1, 0.1)


def pod(
    name: str, *, phase: str = "Running", ready: str = "True", started: float = 1000, changed: float = 900, **spec: Any
) -> Object:
    """`started` and `changed` are seconds ago."""
    container = {"name": "main", "resources": {"requests": {"cpu": "250m", "memory": "200Mi"}}}
    status = {
        "phase": phase,
        "startTime": timestamp(NOW - started),
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": timestamp(NOW - changed)}],
    }
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}, "status": status}


def pods(count: int, **options: Any) -> list[Object]:
    return [pod(f"p{number}", **options) for number in range(count)]


def grouped(found: list[Object], samples: dict[str, Sample], resource: str = "cpu") -> Groups:
    return group(found, samples, resource, cpu_initialization=300, initial_readiness=30, now=NOW)


def samples(*values: int | None, window: float = 30.0, age: float = 5.0) -> dict[str, Sample]:
    return {f"p{n}": Sample(v, NOW - age, window) for n, v in enumerate(values) if v is not None}


# -- grouping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "where"),
    [
        (pod("p0"), "ready"),
        (pod("p0", phase="Pending"), "unready"),
        (pod("p0", phase="Failed"), "ignored"),
        (pod("p0", ready="False", started=1000, changed=990), "unready"),  # never was ready
        (pod("p0", ready="False", started=1000, changed=100), "ready"),  # is unready now, was ready once
        (pod("p0", started=60, changed=20), "unready"),  # the sample reaches back before it was ready
        (pod("p0", started=60, changed=50), "ready"),
        (pod("p0", ready="False", started=60, changed=50), "unready"),
    ],
)
def test_which_pods_count(made: Object, where: str) -> None:
    found = grouped([made], samples(100))
    assert (found.ready, found.unready, found.ignored) == (
        int(where == "ready"),
        {"p0"} if where == "unready" else set(),
        {"p0"} if where == "ignored" else set(),
    )


def test_pods_that_end_and_pods_without_samples() -> None:
    ending = pod("p0")
    ending["metadata"]["deletionTimestamp"] = timestamp(NOW)
    found = grouped([ending, pod("p1")], samples(100))
    assert (found.ready, found.ignored, found.missing) == (0, {"p0"}, {"p1"})
    assert grouped([pod("p0", started=60, changed=20)], samples(100), "memory").ready == 1


# -- replicas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "count", "current", "wanted"),
    [
        ((500, 500), 2, 2, 8),  # 200 % of a target of 50 %
        ((130, 130), 2, 2, 2),  # within the tolerance
        ((10, 10, 10, 10), 4, 4, 1),
        ((10, 10, 10, None), 4, 4, 3),  # the missing one counts with all it asks for
        ((500, 500, 500, None), 4, 4, 12),  # the missing one counts with nothing
        ((130, 130, None), 3, 3, 3),  # that would turn the direction
        ((0, 0), 2, 2, 0),
    ],
)
def test_utilization(values: tuple[int | None, ...], count: int, current: int, wanted: int) -> None:
    found, given = pods(count), samples(*values)
    asked = requests(found, "cpu", "")
    proposal = r.utilization_replicas(found, given, grouped(found, given), asked, current, 50, TENTH)
    assert proposal.replicas == wanted


def test_unready_pods_dampen_the_way_up_only() -> None:
    found = [*pods(2), pod("p2", phase="Pending"), pod("p3", phase="Pending")]
    given = samples(500, 500)
    asked = requests(found, "cpu", "")
    up = r.utilization_replicas(found, given, grouped(found, given), asked, 4, 50, TENTH)
    assert (up.replicas, up.utilization, up.usage) == (8, 200, 500)
    given = samples(10, 10)
    assert r.utilization_replicas(found, given, grouped(found, given), asked, 4, 50, TENTH).replicas == 1


def test_plain_values() -> None:
    found, given = pods(3), samples(350, 350, 350)
    assert r.plain_replicas(found, given, grouped(found, given, ""), 3, 200, TENTH) == r.Proposal(6, 350)
    given = samples(10, 10, None)
    assert r.plain_replicas(found, given, grouped(found, given, ""), 3, 200, TENTH).replicas == 2
    with pytest.raises(Uncomputable, match="did not receive metrics for targeted pods"):
        r.plain_replicas(found, {}, Groups(), 3, 200, TENTH)
    with pytest.raises(Uncomputable, match="no pods returned by selector"):
        r.plain_replicas([], given, Groups(), 3, 200, TENTH)


@pytest.mark.parametrize(
    ("value", "current", "wanted"),
    [(33_000, 2, 7), (10_500, 2, 2), (1_000, 2, 1), (33_000, 0, 4), (1 << 62, 2, r.LARGEST)],
)
def test_one_value_for_all(value: int, current: int, wanted: int) -> None:
    assert r.value_replicas(pods(2), value, current, 10_000, TENTH).replicas == wanted


@pytest.mark.parametrize(
    ("value", "current", "wanted"),
    [(35_500, 2, (6, 17_750)), (35_500, 3, (6, 11_834)), (14_000, 2, (2, 7_000)), (35_500, 0, (6, (1 << 63) - 1))],
)
def test_a_value_that_is_shared(value: int, current: int, wanted: tuple[int, int]) -> None:
    found = r.shared_replicas(value, current, 7_000, TENTH)
    assert (found.replicas, found.usage) == wanted


def test_requests() -> None:
    sidecar = {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}}
    made = pod("p", initContainers=[sidecar, {"name": "init"}])
    assert requests([made], "cpu", "") == {"p": 300}
    assert requests([made], "cpu", "side") == {"p": 50}
    assert requests([pod("p", resources={"requests": {"cpu": "600m"}})], "cpu", "") == {"p": 600}
    with pytest.raises(Uncomputable, match="missing request for gpu in container main of Pod p"):
        requests([made], "gpu", "")
    with pytest.raises(Uncomputable, match="container nope not found in Pod p"):
        requests([made], "cpu", "nope")


# -- behavior ---------------------------------------------------------------------------------------------------------


def rules(*policies: tuple[str, int, int], window: int | None = 0, select: str = "Max") -> dict[str, Any]:
    listed = [{"type": kind, "value": value, "periodSeconds": period} for kind, value, period in policies]
    return {"policies": listed, "selectPolicy": select, "stabilizationWindowSeconds": window}


FREE = rules(("Percent", 100, 15), ("Pods", 4, 15))
DOWN = rules(("Percent", 100, 15))


@pytest.mark.parametrize(
    ("up", "down", "current", "wanted", "size", "limited"),
    [
        (FREE, DOWN, 2, 8, 6, "ScaleUpLimit"),
        (FREE, DOWN, 2, 30, 6, "ScaleUpLimit"),
        (FREE, DOWN, 8, 30, 10, "TooManyReplicas"),
        (rules(("Pods", 1, 60)), DOWN, 2, 8, 3, "ScaleUpLimit"),
        (rules(("Pods", 1, 60), ("Percent", 200, 60), select="Min"), DOWN, 2, 8, 3, "ScaleUpLimit"),
        (rules(("Pods", 1, 60), select="Disabled"), DOWN, 2, 8, 2, "ScaleUpLimit"),
        (FREE, rules(("Percent", 25, 60)), 8, 1, 6, "ScaleDownLimit"),
        (FREE, rules(("Percent", 50, 60), ("Pods", 1, 60), select="Min"), 8, 1, 7, "ScaleDownLimit"),
        (FREE, rules(("Pods", 1, 60), select="Disabled"), 8, 1, 8, "ScaleDownLimit"),
        (FREE, DOWN, 8, 0, 1, "TooFewReplicas"),
        (FREE, DOWN, 8, 5, 5, "DesiredWithinRange"),
    ],
)
def test_policies(up: Any, down: Any, current: int, wanted: int, size: int, limited: str) -> None:
    made = normalize(
        Memory(),
        {"scaleUp": up, "scaleDown": down},
        current=current,
        wanted=wanted,
        least=1,
        most=10,
        window=300,
        now=NOW,
    )
    assert (made.replicas, made.limited.reason) == (size, limited)
    assert made.is_limited == (limited != "DesiredWithinRange")


def test_what_was_changed_in_the_period_counts() -> None:
    memory = Memory(ups=[Timed(2, NOW - 30)], downs=[Timed(1, NOW - 90)])
    behavior = {"scaleUp": rules(("Pods", 3, 60)), "scaleDown": DOWN}
    made = normalize(memory, behavior, current=6, wanted=10, least=1, most=20, window=300, now=NOW)
    assert made.replicas == 7  # six minus the two that came in this minute, plus three
    memory.changed(behavior, 6, 7, NOW)
    memory.changed(behavior, 7, 8, NOW + 61)
    assert memory.ups == [Timed(2, NOW - 30), Timed(1, NOW + 61)]  # the last that is too old makes room


@pytest.mark.parametrize(
    ("behavior", "current", "wanted", "size", "reason"),
    [
        (None, 8, 1, 8, "ScaleDownStabilized"),
        (None, 8, 9, 9, "ReadyForNewScale"),
        ({"scaleUp": FREE, "scaleDown": rules(("Percent", 100, 15), window=200)}, 8, 1, 8, "ScaleDownStabilized"),
        ({"scaleUp": FREE, "scaleDown": rules(("Percent", 100, 15), window=20)}, 8, 1, 1, "ReadyForNewScale"),
        ({"scaleUp": FREE, "scaleDown": rules(("Percent", 100, 15), window=None)}, 8, 1, 8, "ScaleDownStabilized"),
        ({"scaleUp": {**FREE, "stabilizationWindowSeconds": 200}, "scaleDown": DOWN}, 8, 9, 8, "ScaleUpStabilized"),
    ],
)
def test_stabilization(behavior: Any, current: int, wanted: int, size: int, reason: str) -> None:
    memory = Memory()
    memory.begin(current, NOW - 100)
    made = normalize(memory, behavior, current=current, wanted=wanted, least=1, most=10, window=300, now=NOW)
    assert (made.replicas, made.able.reason) == (size, reason)
    assert memory.recommendations[-1 if len(memory.recommendations) > 1 else 0].replicas == wanted


def test_old_recommendations_are_replaced() -> None:
    memory = Memory()
    memory.begin(8, NOW - 1000)
    for second in range(3):
        normalize(memory, None, current=8, wanted=2, least=1, most=10, window=300, now=NOW + second)
    assert [m.replicas for m in memory.recommendations] == [2, 2, 2]


# -- one look ---------------------------------------------------------------------------------------------------------


def situation(found: list[Object], wanted: int = 2) -> Situation:
    return Situation("space", found, wanted, wanted, TENTH, NOW, AutoscalerConfig())


def resource(target: Object) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def look(spec: Object, *fetched: Fetched, wanted: int = 2) -> d.Decision:
    made = d.start({})
    d.found(made, wanted, NOW)
    memory = Memory()
    memory.begin(wanted, NOW)
    return d.decide(made, {"maxReplicas": 10, **spec}, fetched, situation(pods(2), wanted), memory)


def said(made: d.Decision) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in made.conditions}


HALF = resource({"type": "Utilization", "averageUtilization": 50})
QUEUE = {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "10"}}}


def test_a_look_that_scales_up() -> None:
    made = look({"metrics": [HALF]}, Fetched(samples(500, 500)))
    assert (made.desired, made.rescale) == (4, True)  # at most twice as many, or four
    assert made.reason == "cpu resource utilization (percentage of request) above target"
    assert said(made) == {
        "AbleToScale": ("True", "ReadyForNewScale"),
        "ScalingActive": ("True", "ValidMetricFound"),
        "ScalingLimited": ("True", "ScaleUpLimit"),
    }
    d.rescaled(made, NOW)
    status = d.status(made, {"desiredReplicas": 2}, NOW)
    assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 4)
    assert status["lastScaleTime"] == timestamp(NOW)
    current = {"averageUtilization": 200, "averageValue": "500m"}
    assert status["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]


def test_a_metric_that_fails_keeps_from_shrinking_not_from_growing() -> None:
    lost = Fetched(error="unable to fetch metrics from external metrics API: gone")
    grows = look({"metrics": [HALF, QUEUE]}, Fetched(samples(500, 500)), lost)
    assert grows.rescale and [e.reason for e in grows.events] == ["FailedGetExternalMetric"]
    stays = look({"metrics": [HALF, QUEUE]}, Fetched(samples(10, 10)), lost)
    assert stays.desired is None and not stays.rescale
    assert said(stays)["ScalingActive"] == ("False", "FailedGetExternalMetric")
    assert [e.reason for e in stays.events] == ["FailedGetExternalMetric", "FailedComputeMetricsReplicas"]
    assert stays.events[-1].message == (
        "invalid metrics (1 invalid out of 2), first error is: failed to get queue external metric value: failed to "
        "get external metric queue: unable to get external metric space/queue/nil: unable to fetch metrics from "
        "external metrics API: gone"
    )
    assert d.status(stays, {"desiredReplicas": 2}, NOW)["currentMetrics"][1] == {"type": ""}


@pytest.mark.parametrize(
    ("metric", "fetched", "reason", "inner"),
    [
        (
            HALF,
            Fetched(error="no metrics returned from resource metrics API"),
            "FailedGetResourceMetric",
            "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource "
            "metrics API",
        ),
        (
            {
                "type": "Object",
                "object": {
                    "metric": {"name": "hits"},
                    "describedObject": {"kind": "Service", "name": "front", "apiVersion": "v1"},
                    "target": {"type": "Value", "value": "10"},
                },
            },
            Fetched(error="unable to fetch metrics from custom metrics API: gone"),
            "FailedGetObjectMetric",
            "unable to get metric hits: Service on space front/unable to fetch metrics from custom metrics API: gone",
        ),
        (
            {"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"averageValue": "1"}}},
            Fetched(error="gone"),
            "FailedGetPodsMetric",
            "unable to get metric qps: gone",
        ),
    ],
)
def test_what_is_said_of_failures(metric: Object, fetched: Fetched, reason: str, inner: str) -> None:
    with pytest.raises(Failed) as caught:
        compute(metric, fetched, situation(pods(2)))
    assert (caught.value.reason, caught.value.inner) == (reason, inner)


@pytest.mark.parametrize(("current", "desired", "rescale"), [(0, 0, False), (20, 10, True), (1, 3, True)])
def test_targets_out_of_bounds(current: int, desired: int, rescale: bool) -> None:
    spec = {"minReplicas": 3, "maxReplicas": 10}
    made = d.start({})
    d.found(made, current, NOW)
    assert not d.needs_metrics(spec, current)
    d.out_of_bounds(made, spec, NOW)
    assert (made.desired, made.rescale) == (desired, rescale)
    assert ("ScalingActive" in said(made)) == (current == 0)


def test_tolerance_of_its_own() -> None:
    spec = {"behavior": {"scaleUp": {"tolerance": "0.5"}, "scaleDown": {}}}
    assert d.tolerance(spec, AutoscalerConfig()) == r.Tolerance(0.1, 0.5)
    assert r.Tolerance(0.1, 0.5).holds(1.45) and not r.Tolerance(0.1, 0.5).holds(0.85)


def test_lengths_of_time() -> None:
    assert [seconds(text) for text in ("15.034s", "1m0.5s", "1h", "500ms", "")] == [15.034, 60.5, 3600, 0.5, 0]


# -- sources ----------------------------------------------------------------------------------------------------------


class Apis:
    """Metrics APIs that answer what the test says, by path."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def request(self, method: str, path: str, *, query: Any = None) -> Any:
        self.asked.append(path)
        for part, answer in self.answers.items():
            if part in path:
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise StatusError(404, "", "404 page not found")


USAGE = {"items": [{"metadata": {"name": "p0"}, "window": "30s", "containers": [{"name": "m", "usage": {"cpu": "1"}}]}]}


async def test_one_question_serves_all_resources() -> None:
    apis = Apis(pods=USAGE)
    side = {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "m", "target": {}}}
    found = await fetch(apis, Discovery(), "d", "a=b", [HALF, side])  # type: ignore[arg-type]
    assert [f.samples for f in found] == [{"p0": Sample(1000, 0.0, 30.0)}] * 2
    assert apis.asked == ["/apis/metrics.k8s.io/v1beta1/namespaces/d/pods"]


@pytest.mark.parametrize(
    ("metric", "answers", "error"),
    [
        (
            HALF,
            {},
            "unable to fetch metrics from resource metrics API: the server could not find the requested resource "
            "(get pods.metrics.k8s.io)",
        ),
        (
            HALF,
            {"pods": StatusError(503, "ServiceUnavailable", "no")},
            "unable to fetch metrics from resource metrics API: the server is currently unable to handle the request "
            "(get pods.metrics.k8s.io)",
        ),
        (HALF, {"pods": {"items": []}}, "no metrics returned from resource metrics API"),
        (HALF, {"pods": {"items": [{"metadata": {}, "containers": [{"usage": {"cpu": "1"}}]}]}}, "the answer can't be"),
        (HALF, {"pods": {"items": [{"containers": [{"usage": {"cpu": "many"}}]}]}}, "the answer can't be understood"),
        (
            {"type": "Pods", "pods": {"metric": {"name": "qps"}}},
            {"/apis": {"groups": []}},
            "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered",
        ),
        (QUEUE, {"queue": {"items": []}}, "no metrics returned from external metrics API"),
        (QUEUE, {"queue": {"items": [{"value": "x"}]}}, "quantities must match the regular expression"),
        (QUEUE, {"queue": ["surprise"]}, "unable to fetch metrics from external metrics API: the answer to"),
    ],
)
async def test_apis_that_give_nothing(metric: Object, answers: Any, error: str) -> None:
    (found,) = await fetch(Apis(**answers), Discovery(), "d", "a=b", [metric])  # type: ignore[arg-type]
    assert found.error.startswith(error) and found.samples is None
