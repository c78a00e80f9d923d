"""The scheduler's own metrics: names, labels and numbers as upstream's."""

from __future__ import annotations

import pytest

from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource, label_of
from kumo.kubernetes.scheduler.measures import SUCCESS, UNSCHEDULABLE, Attempt, Measures, Now, refusals
from kumo.kubernetes.scheduler.queue import FLUSH_AFTER, SchedulingQueue

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(measures: Measures, queue: SchedulingQueue) -> set[str]:
    pending = queue.lengths() | {"gated": 2}
    now = Now(pending, queue.incoming, refusals(queue.refused()), {"nodes": 3, "pods": 5, "assumed_pods": 1})
    return set(measures.lines(now))


async def test_attempts_points_and_victims_are_counted_and_timed() -> None:
    clock = Clock()
    measures, queue = Measures(clock), SchedulingQueue(clock=clock)
    first = Attempt("default-scheduler", 0.0, 1, 0.0)
    clock.now = 0.003
    assert measures.point("default-scheduler", "Filter", SUCCESS, 0.002) == 0.003
    measures.point("default-scheduler", "PostFilter", UNSCHEDULABLE, 0.0)
    measures.decided(first)
    measures.preempted(0)
    measures.preempted(3)
    measures.ended(first, "unschedulable")
    clock.now = 12.5
    measures.ended(Attempt("default-scheduler", 12.25, 2, 0.0), "scheduled")
    measures.ended(Attempt("default-scheduler", 12.25, 40, 0.0), "scheduled")
    assert lines(measures, queue) >= {
        'scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"} 2',
        'scheduler_schedule_attempts_total{result="unschedulable",profile="default-scheduler"} 1',
        'scheduler_scheduling_attempt_duration_seconds_sum{result="scheduled",profile="default-scheduler"} 0.5',
        'scheduler_scheduling_attempt_duration_seconds_bucket'
        '{result="scheduled",profile="default-scheduler",le="0.256"} 2',
        "scheduler_scheduling_algorithm_duration_seconds_count 1",
        'scheduler_framework_extension_point_duration_seconds_bucket'
        '{extension_point="Filter",status="Success",profile="default-scheduler",le="0.0008"} 0',
        'scheduler_framework_extension_point_duration_seconds_bucket'
        '{extension_point="Filter",status="Success",profile="default-scheduler",le="0.0016"} 1',
        'scheduler_framework_extension_point_duration_seconds_count'
        '{extension_point="PostFilter",status="Unschedulable",profile="default-scheduler"} 1',
        'scheduler_pod_scheduling_sli_duration_seconds_sum{attempts="2"} 12.5',
        'scheduler_pod_scheduling_sli_duration_seconds_count{attempts="15+"} 1',
        'scheduler_pod_scheduling_attempts_bucket{le="2"} 1',
        "scheduler_pod_scheduling_attempts_count 2",
        "scheduler_preemption_attempts_total 2",
        "scheduler_preemption_victims_sum 3",
        "scheduler_preemption_victims_count 1",
        'scheduler_pending_pods{queue="gated"} 2',
        'scheduler_cache_size{type="assumed_pods"} 1',
    }  # fmt: skip


async def test_the_queue_says_what_brought_pods_where() -> None:
    clock = Clock()
    queue = SchedulingQueue({"p": {"Fit": (Interest(Resource.NODE, Action.ADD),)}}, clock=clock)
    for uid in "abcd":
        queue.add(uid, 0, {}, "p")
    for uid in "abcd":
        assert (await queue.get()).uid == uid
        queue.set_aside(uid, {"Fit"} if uid != "d" else ())
    measures = Measures(clock)
    assert lines(measures, queue) >= {
        'scheduler_pending_pods{queue="active"} 0',
        'scheduler_pending_pods{queue="unschedulable"} 3',
        'scheduler_pending_pods{queue="backoff"} 1',
        'scheduler_unschedulable_pods{plugin="Fit",profile="p"} 3',
    }
    queue.activate("a")
    assert (await queue.get()).uid == "a"
    queue.back_off("a")
    assert (await queue.get()).uid == "d"  # nobody else is ready
    queue.remove("d")
    clock.now = FLUSH_AFTER - 1
    queue.happened(Happening(Resource.NODE, Action.ADD, None, {}))
    assert (await queue.get()).uid == "b"
    queue.set_aside("b", {"Fit"})
    clock.now += FLUSH_AFTER
    queue.flush()
    assert queue.incoming == {
        ("active", "UnschedulablePodAdd"): 4,
        ("unschedulable", "ScheduleAttemptFailure"): 4,
        ("backoff", "ScheduleAttemptFailure"): 2,
        ("active", "ForceActivate"): 1,
        ("active", "PopFromBackoffQ"): 1,
        ("active", "NodeAdd"): 2,
        ("active", "BackoffComplete"): 1,
        ("active", "UnschedulableTimeout"): 1,
    }


@pytest.mark.parametrize(
    ("event", "label"),
    [
        (Happening(Resource.POD, Action.DELETE, {"spec": {"nodeName": "n"}}, None), "AssignedPodDelete"),
        (Happening(Resource.POD, Action.ADD, None, {"spec": {"nodeName": "n"}}), "AssignedPodAdd"),
        (Happening(Resource.POD, Action.POD_TOLERATION, {}, {"spec": {}}), "UnschedulablePodUpdatePodToleration"),
        (Happening(Resource.NODE, Action.NODE_TAINT | Action.NODE_CONDITION, {}, {}), "NodeUpdateNodeTaint"),
        (Happening(Resource.CSI_NODE, Action.UPDATE, {}, {}), "storage.k8s.io/CSINodeUpdate"),
        (Happening(Resource.RESOURCE_SLICE, Action.ADD, None, {}), "resource.k8s.io/ResourceSliceAdd"),
    ],
)
def test_events_have_upstreams_names(event: Happening, label: str) -> None:
    assert label_of(event) == label
