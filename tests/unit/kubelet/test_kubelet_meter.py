"""The kubelet's own counters: what they look like on the page, and what statuses of pods make of them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kumo.api.objects import Object, timestamp
from kumo.kubernetes.kubelet.stats.action_counts import ActionCounts
from kumo.kubernetes.kubelet.stats.families import FAMILIES, rejection_class, size_class
from kumo.kubernetes.kubelet.stats.meter import Family, Meter
from kumo.kubernetes.kubelet.stats.pod_times import PodTimes, initializing, is_stateful
from kumo.kubernetes.kubelet.stats.runtime_figures import RuntimeFigures

pytestmark = pytest.mark.unit


def test_the_page() -> None:
    meter = Meter(
        {
            "a_total": Family("counter", "Help."),
            "b": Family("gauge", "B.", ("kind",)),
            "c": Family("histogram", "C.", (), (1.0, 2.0)),
        }
    )
    meter.count("a_total", by=2)
    meter.observe("c", 1.5)
    assert meter.lines() == [
        "# HELP a_total Help.",
        "# TYPE a_total counter",
        "a_total 2",
        "# HELP c C.",
        "# TYPE c histogram",
        'c_bucket{le="1"} 0',
        'c_bucket{le="2"} 1',
        'c_bucket{le="+Inf"} 1',
        "c_sum 1.5",
        "c_count 1",
    ]
    meter.fill("b", {("x",): 3})
    assert 'b{kind="x"} 3' in meter.lines()
    with pytest.raises(KeyError):
        meter.count("unknown")


def test_classes() -> None:
    sizes = (0, 10 << 20, (500 << 20) - 1, 1 << 30, 200 << 30)
    assert [size_class(n) for n in sizes] == ["0-10MB", "10MB-100MB", "100MB-500MB", "1GB-5GB", "GT100GB"]
    found = [rejection_class(r) for r in ("OutOfcpu", "OutOfvendor/card", "NodeAffinity", "TopologyAffinityError")]
    assert found == ["OutOfcpu", "OutOfExtendedResources", "Other", "TopologyAffinityError"]


def pod(**spec: Any) -> Object:
    created = timestamp(time.time() - 100)
    return {"metadata": {"uid": "u", "creationTimestamp": created}, "spec": {"containers": [{"name": "c"}], **spec}}


def entry(name: str, **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


def test_a_pods_start_counts_once_without_what_it_waited_for() -> None:
    meter = Meter(FAMILIES)
    times = PodTimes(meter, lambda uid: 30.0)
    times.seen(pod())
    times.stepped("u", "create", time.monotonic())
    over = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:20Z", "exitCode": 0}
    waiting = {"phase": "Pending", "containerStatuses": [entry("c", waiting={})]}
    running = {
        "phase": "Running",
        "initContainerStatuses": [entry("i", terminated={**over, "reason": "Completed"})],
        "containerStatuses": [entry("c", running={"startedAt": "2026-01-01T00:00:00Z"})],
    }
    for status in (waiting, running, running):
        times.said(pod(), status)
        times.written({**pod(), "status": status}, 0.1)
    assert meter.value("kubelet_pod_start_duration_seconds") == 1
    assert meter.value("kubelet_pod_start_total_duration_seconds") == 1
    assert meter.value("kubelet_pod_start_sli_duration_seconds") == 1
    assert 49 < meter.value("kubelet_first_network_pod_start_sli_duration_seconds") < 60
    assert meter.value("kubelet_pod_status_sync_duration_seconds") == 3
    assert meter.value("kubelet_terminated_containers_total", "init_container", "0", "Completed") == 1
    assert meter.value("kubelet_pod_worker_start_duration_seconds") == 1
    assert meter.value("kubelet_pod_worker_duration_seconds", "create") == 1
    times.forget("u")
    times.said(pod(), running)
    assert meter.value("kubelet_pod_start_duration_seconds") == 1


def test_a_pod_that_ran_before_the_kubelet_did_has_not_started_now() -> None:
    meter = Meter(FAMILIES)
    times = PodTimes(meter, lambda uid: 0.0)
    ended = {"startTime": "x", "phase": "Running", "containerStatuses": [entry("c", terminated={"exitCode": 1})]}
    times.seen({**pod(), "status": ended})
    times.said(pod(), ended)
    times.written(
        {**pod(), "status": {"containerStatuses": [entry("c", running={"startedAt": "2026-01-01T00:00:00Z"})]}}, 0.1
    )
    assert meter.value("kubelet_pod_start_total_duration_seconds") == 0
    assert meter.value("kubelet_terminated_containers_total", "container", "1", "") == 0


def test_which_pods_have_volumes_of_their_own() -> None:
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "projected": {}}]
    assert not is_stateful(pod(volumes=volumes))
    assert is_stateful(pod(volumes=[*volumes, {"name": "c", "hostPath": {}}]))
    assert initializing({}) == 0.0


def test_what_goes_wrong_counts() -> None:
    meter = Meter(FAMILIES)
    counts = ActionCounts(meter)
    with pytest.raises(OSError), counts.pod(pod(hostUsers=False)), counts.sandbox("kata"):
        raise OSError
    for name in ("started_pods", "started_user_namespaced_pods"):
        assert meter.value(f"kubelet_{name}_total") == meter.value(f"kubelet_{name}_errors_total") == 1
    assert meter.value("kubelet_run_podsandbox_errors_total", "kata") == 1
    counts.container_failed(pod(initContainers=[{"name": "i"}]), {"name": "i"}, "ErrImagePull")
    assert meter.value("kubelet_started_containers_errors_total", "init_container", "ErrImagePull") == 1


def test_looks_and_operations() -> None:
    meter = Meter(FAMILIES)
    figures = RuntimeFigures(meter)
    figures.looked(0.1)
    figures.looked(0.1)
    figures.operation("run_podsandbox", 0.1, True)
    assert meter.value("kubelet_pleg_relist_duration_seconds") == 2
    assert meter.value("kubelet_pleg_relist_interval_seconds") == 1
    assert meter.value("kubelet_runtime_operations_errors_total", "run_podsandbox") == 1
