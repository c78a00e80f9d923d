"""The parts that decisions about jobs are made of, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import timestamp
from kumo.kubernetes.controller_manager.job import failure_policy, indexes
from kumo.kubernetes.controller_manager.job.backoff import Backoff, Record, advance, failures, finished_at, remaining
from kumo.kubernetes.controller_manager.job.template import pod_for

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "completions", "again"),
    [
        ("", 5, ""),
        ("0", 5, "0"),
        ("0,1", 5, "0,1"),
        ("0,1,2", 5, "0-2"),
        ("0-2,4,6-9", 8, "0-2,4,6,7"),
        ("3-5", 3, ""),
        ("x,1,2-y,4", 9, "1,4"),
        ("-1,²,2", 9, "2"),
    ],
)
def test_controller_job_indexes_are_read_and_written(text: str, completions: int, again: str) -> None:
    assert indexes.written(indexes.parse(text, completions)) == again


def test_controller_job_indexes_as_sets() -> None:
    one, other = indexes.of([5, 1, 2, 9]), indexes.parse("2-5,20", 30)
    assert indexes.written(indexes.union(one, other)) == "1-5,9,20"
    assert (indexes.total(one), indexes.common(one, other)) == (4, 2)
    assert [n for n in range(12) if indexes.contains(one, n)] == [1, 2, 5, 9]
    assert indexes.missing(one, 4, 30) == [0, 3, 4, 6]
    assert indexes.missing(one, 9, 8) == [0, 3, 4, 6, 7]
    assert indexes.missing((), 2, 1) == [0]


def pod(**status: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "n", "creationTimestamp": timestamp(1000)}
    return {"metadata": meta, "spec": {}, "status": status}


def ended(code: int, name: str = "c", at: float = 2000) -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code, "finishedAt": timestamp(at)}}}


def codes(operator: str, *values: int, name: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"operator": operator, "values": list(values)}
    return {"onExitCodes": found | ({"containerName": name} if name else {})}


READY = {"onPodConditions": [{"type": "T", "status": "False"}]}


@pytest.mark.parametrize(
    ("rules", "found", "expected"),
    [
        ([("Ignore", codes("In", 1))], pod(containerStatuses=[ended(1)]), ("Ignore", False, "")),
        ([("Ignore", codes("In", 1))], pod(containerStatuses=[ended(2)]), ("", True, "")),
        ([("Count", codes("NotIn", 1))], pod(containerStatuses=[ended(2)]), ("Count", True, "")),
        ([("Count", codes("NotIn", 1))], pod(containerStatuses=[ended(0)]), ("", True, "")),
        ([("Ignore", codes("In", 3, name="d"))], pod(containerStatuses=[ended(3)]), ("", True, "")),
        (
            [("FailIndex", codes("In", 3, name="i"))],
            pod(initContainerStatuses=[ended(3, "i")]),
            ("FailIndex", True, ""),
        ),
        (
            [("Ignore", codes("In", 3))],
            pod(containerStatuses=[{"name": "c", "state": {"running": {}}}]),
            ("", True, ""),
        ),
        ([("Ignore", READY)], pod(conditions=[{"type": "T", "status": "True"}]), ("", True, "")),
        (
            [("Count", codes("In", 9)), ("FailJob", READY)],
            pod(conditions=[{"type": "T", "status": "False"}]),
            ("FailJob", True, "Pod n/p has condition T matching FailJob rule at index 1"),
        ),
        (
            [("FailJob", codes("In", 5))],
            pod(containerStatuses=[ended(0, "a"), ended(5, "b")]),
            ("FailJob", True, "Container b for pod n/p failed with exit code 5 matching FailJob rule at index 0"),
        ),
        (
            [("Strange", codes("In", 5)), ("Ignore", codes("In", 5))],
            pod(containerStatuses=[ended(5)]),
            ("Ignore", False, ""),
        ),
    ],
)
def test_controller_job_failure_rules(rules: list[Any], found: Any, expected: tuple[str, bool, str]) -> None:
    policy = {"rules": [{"action": action, **rule} for action, rule in rules]}
    assert failure_policy.match(policy, found) == expected


def test_controller_job_without_a_failure_policy_counts() -> None:
    assert failure_policy.match(None, pod(containerStatuses=[ended(1)])) == ("", True, "")


def test_controller_job_knows_when_a_pod_ended() -> None:
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": timestamp(1500)}
    assert finished_at(pod(containerStatuses=[ended(0, at=2000), ended(0, "d", 2100)])) == 2100
    running = {"name": "c", "state": {"running": {}}}
    assert finished_at(pod(containerStatuses=[ended(0), running], conditions=[unready])) == 1500
    deleted = pod()
    deleted["metadata"] |= {"deletionTimestamp": timestamp(1300), "deletionGracePeriodSeconds": 30}
    assert finished_at(deleted) == 1270
    assert finished_at(pod()) == 1000
    sidecar = pod(containerStatuses=[ended(0)], initContainerStatuses=[ended(0, "s", 2500), ended(0, "i", 9999)])
    sidecar["spec"]["initContainers"] = [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]
    assert finished_at(sidecar) == 2500


def at(*moments: float) -> list[Any]:
    return [pod(containerStatuses=[ended(1, at=m)]) for m in moments]


@pytest.mark.parametrize(
    ("before", "succeeded", "failed", "after"),
    [
        (Record(), (), (), Record()),
        (Record(), (), (20, 10), Record(2, 20)),
        (Record(2, 20), (), (30,), Record(3, 30)),
        (Record(2, 20), (25,), (), Record()),
        (Record(2, 20), (25,), (24, 26, 30), Record(2, 30)),
        (Record(2, 20), (25,), (25,), Record()),
    ],
)
def test_controller_job_failures_in_a_row(
    before: Record, succeeded: tuple[float, ...], failed: tuple[float, ...], after: Record
) -> None:
    assert advance(before, at(*succeeded), at(*failed)) == after


@pytest.mark.parametrize(
    ("count", "now", "wait"), [(0, 0, 0), (1, 100, 10), (1, 111, 0), (3, 105, 35), (7, 100, 600), (400, 100, 600)]
)
def test_controller_job_backoff_doubles_up_to_its_bound(count: int, now: float, wait: float) -> None:
    assert remaining(Record(count, 100), now, Backoff()) == wait


@pytest.mark.parametrize(
    ("text", "count"), [("3", 3), ("-1", 0), ("x", 0), ("99999999999", 0), (str(2**31), 0), ("", 0)]
)
def test_controller_job_failure_counts_of_strangers_are_none(text: str, count: int) -> None:
    found = pod()
    found["metadata"]["annotations"] = {"batch.kubernetes.io/job-index-failure-count": text}
    assert failures(found) == count


def test_controller_job_pod_of_an_index() -> None:
    own = {"name": "JOB_COMPLETION_INDEX", "value": "mine"}
    containers = [{"name": "a", "env": [own]}, {"name": "b"}]
    template = {"metadata": {"labels": {"x": "y"}, "finalizers": ["f/g"]}, "spec": {"containers": containers}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j" * 60, "uid": "u"}, "spec": {}}
    job["spec"] = {"template": template, "completionMode": "Indexed"}
    made = pod_for(job, 12)
    meta = made["metadata"]
    assert meta["finalizers"] == ["f/g", "batch.kubernetes.io/job-tracking"]
    assert (meta["generateName"], len(meta["generateName"])) == ("j" * 54 + "-12-", 58)
    assert meta["labels"] == {"x": "y", indexes.INDEX: "12"} and meta["annotations"] == {indexes.INDEX: "12"}
    assert made["spec"]["containers"][0]["env"] == [own]
    path = "metadata.labels['batch.kubernetes.io/job-completion-index']"
    assert made["spec"]["containers"][1]["env"][0]["valueFrom"] == {"fieldRef": {"fieldPath": path}}
    assert "env" not in containers[1] and template["metadata"]["labels"] == {"x": "y"}
