"""How kinds are judged: updates, parts, templates, jobs, autoscalers, claims, warnings - a line a case."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds import strategy_for
from kumo.kubernetes.apiserver.kinds.cron_schedule import check_schedule
from kumo.kubernetes.apiserver.kinds.go_diff import go_diff
from kumo.kubernetes.apiserver.kinds.job_checks import count_indexes
from kumo.kubernetes.apiserver.kinds.strategy import Strategy

pytestmark = pytest.mark.unit

POD = GVK("", "v1", "Pod")
JOB, CRON = GVK("batch", "v1", "Job"), GVK("batch", "v1", "CronJob")
SCALER = GVK("autoscaling", "v2", "HorizontalPodAutoscaler")
CONTAINER = {"name": "c", "image": "nginx:1"}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [CONTAINER]}}


def made(gvk: GVK, name: str = "x", **body: Any) -> Object:
    """A new object as it is stored."""
    strategy = strategy_for(gvk)
    obj: Object = {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": {"name": name, "namespace": "d"}}
    obj |= copy.deepcopy(body)
    strategy.default(obj)
    strategy.prepare_create(obj)
    return obj


def refused(gvk: GVK, **body: Any) -> list[str]:
    """What a create is refused with."""
    return [f"{c.field}: {c.message}" for c in strategy_for(gvk).validate_create(made(gvk, **body))]


def _strategy(obj: Object) -> Strategy:
    group, _, version = obj["apiVersion"].rpartition("/")
    return strategy_for(GVK(group, version, obj["kind"]))


def changed(old: Object, change: dict[str, Any], part: str = "") -> tuple[Object, list[str]]:
    """The next state of an object whose spec gets these fields, and what it is refused with."""
    strategy, fresh = _strategy(old), copy.deepcopy(old)
    fresh["spec"] |= change
    strategy.default(fresh)
    strategy.prepare_update(fresh, old, part)
    found = dict.fromkeys(f"{c.field}: {c.message}" for c in strategy.validate_update(fresh, old, part))
    return fresh, list(found)


# -- pods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ({}, {"activeDeadlineSeconds": 5}, ""),
        ({"activeDeadlineSeconds": 5}, {"activeDeadlineSeconds": 6}, "less than or equal to previous value"),
        ({}, {"tolerations": [{"key": "k", "operator": "Exists"}]}, ""),
        ({"tolerations": [{"key": "k", "operator": "Exists"}]}, {"tolerations": []}, "existing toleration can not be"),
        ({}, {"nodeName": "n"}, "pod updates may not change fields other than"),
        ({}, {"schedulingGates": [{"name": "a.b/c"}]}, "only deletion is allowed, but found new scheduling gate"),
        ({"schedulingGates": [{"name": "a.b/c"}]}, {"schedulingGates": [], "nodeSelector": {"a": "b"}}, ""),
        ({}, {"nodeSelector": {"a": "b"}}, "pod updates may not change fields other than"),
        ({}, {"containers": [{**CONTAINER, "image": "nginx:2"}]}, ""),
        ({}, {"containers": [{**CONTAINER, "command": ["x"]}]}, "pod updates may not change fields other than"),
    ],
)
def test_pod_updates(before: dict[str, Any], after: dict[str, Any], wrong: str) -> None:
    _, found = changed(made(POD, spec={"containers": [CONTAINER], **before}), after)
    assert wrong in " ".join(found) if wrong else found == []


def test_a_refused_pod_update_shows_what_differs() -> None:
    _, [found] = changed(made(POD, spec={"containers": [CONTAINER]}), {"hostname": "h"})
    assert (
        found.splitlines()[1:]
        == go_diff(
            "core.v1.PodSpec",
            made(POD, spec={"containers": [CONTAINER]})["spec"],
            made(POD, spec={"containers": [CONTAINER], "hostname": "h"})["spec"],
        ).splitlines()
    )
    assert '- "Hostname": "",' in found and '+ "Hostname": "h",' in found


def test_ephemeral_containers_are_added_and_never_changed() -> None:
    pod = made(POD, spec={"containers": [CONTAINER]})
    probe = {"name": "e", "image": "busybox:1"}
    grown, found = changed(pod, {"ephemeralContainers": [probe], "nodeName": "ignored"}, "ephemeralcontainers")
    assert found == [] and "nodeName" not in grown["spec"] and len(grown["spec"]["ephemeralContainers"]) == 1
    _, found = changed(grown, {"ephemeralContainers": []}, "ephemeralcontainers")
    assert found and "may not be removed" in found[0]
    _, found = changed(grown, {"ephemeralContainers": [{**probe, "image": "busybox:2"}]}, "ephemeralcontainers")
    assert found and "may not be changed" in found[0]
    _, found = changed(
        pod, {"ephemeralContainers": [{**probe, "ports": [{"containerPort": 1}]}]}, "ephemeralcontainers"
    )
    assert found == ["spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"containers": [CONTAINER]}, []),
        (
            {"containers": [{**CONTAINER, "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]},
            ['spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'],
        ),
        (
            {"containers": [CONTAINER], "imagePullSecrets": [{}]},
            ['spec.imagePullSecrets[0].name: invalid empty name ""'],
        ),
    ],
)
def test_pod_warnings(spec: dict[str, Any], told: list[str]) -> None:
    assert strategy_for(POD).warnings(made(POD, spec=spec)) == told


# -- workloads --------------------------------------------------------------------------------------------------------


def test_a_daemon_set_counts_its_templates() -> None:
    gvk, key = GVK("apps", "v1", "DaemonSet"), "deprecated.daemonset.template.generation"
    daemon = made(gvk, spec={"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE})
    assert daemon["metadata"]["annotations"] == {key: "1"}
    fresh, found = changed(daemon, {"minReadySeconds": 1})
    assert found == [] and fresh["metadata"]["annotations"][key] == "1"
    other = {**TEMPLATE, "spec": {"containers": [{**CONTAINER, "image": "nginx:2"}]}}
    fresh, found = changed(daemon, {"template": other})
    assert found == [] and fresh["metadata"]["annotations"][key] == "2"


def test_annotations_of_a_deployment_count_its_generation() -> None:
    gvk = GVK("apps", "v1", "Deployment")
    old = made(gvk, spec={"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE})
    fresh = copy.deepcopy(old)
    fresh["metadata"] |= {"annotations": {"a": "b"}, "labels": {"c": "d"}}
    by_status = copy.deepcopy(fresh)
    strategy_for(gvk).settle(fresh, old)
    assert fresh["metadata"]["generation"] == 2
    strategy_for(gvk).prepare_update(by_status, old, "status")
    assert "labels" not in by_status["metadata"] and by_status["metadata"]["annotations"] == {"a": "b"}


# -- jobs -------------------------------------------------------------------------------------------------------------


def job_refused(policy: str = "Never", **spec: Any) -> list[str]:
    template = {"spec": {"containers": [CONTAINER], "restartPolicy": policy}}
    return refused(JOB, spec={"template": template, **spec})


RULE = "spec.podFailurePolicy.rules[0]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        (
            {"policy": "Always"},
            ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
        ),
        ({"completionMode": "Indexed"}, []),
        (
            {"completionMode": "Odd"},
            ['spec.completionMode: Unsupported value: "Odd": supported values: "NonIndexed", "Indexed"'],
        ),
        (
            {"managedBy": "me"},
            ['spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")'],
        ),
        (
            {"backoffLimitPerIndex": 1},
            ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        ),
        (
            {"completionMode": "Indexed", "completions": 3, "maxFailedIndexes": 4},
            [
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
            ],
        ),
        (
            {"podFailurePolicy": {"rules": [{"action": "FailJob"}]}},
            [f"{RULE}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"],
        ),
        (
            {
                "podFailurePolicy": {
                    "rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [3, 0]}}]
                }
            },
            [
                f"{RULE}.onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                f"{RULE}.onExitCodes.values: Invalid value: [3,0]: must be ordered",
            ],
        ),
        (
            {"successPolicy": {"rules": [{"succeededCount": 2}]}},
            [
                'spec.successPolicy: Invalid value: {"Rules":[{"SucceededIndexes":null,"SucceededCount":2}]}: '
                "requires indexed completion mode"
            ],
        ),
        (
            {"manualSelector": True},
            [
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
            ],
        ),
    ],
)
def test_job_specs(spec: dict[str, Any], expected: list[str]) -> None:
    assert job_refused(**spec) == expected


def test_job_updates() -> None:
    template = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    job = made(JOB, spec={"template": template})
    assert changed(job, {"parallelism": 3, "suspend": True})[1] == []
    assert changed(job, {"completions": 3})[1] == ["spec.completions: Invalid value: 3: field is immutable"]
    other = copy.deepcopy(job["spec"]["template"])
    other["spec"]["nodeSelector"] = {"a": "b"}
    assert changed(job, {"template": other})[1][0].startswith("spec.template: Invalid value: ")
    job["spec"]["suspend"] = True
    assert changed(job, {"template": other})[1] == []
    indexed = made(JOB, spec={"template": template, "completionMode": "Indexed", "completions": 2, "parallelism": 2})
    assert changed(indexed, {"completions": 3, "parallelism": 3})[1] == []
    assert changed(indexed, {"completions": 3})[1] == [
        "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"
    ]


def test_job_status() -> None:
    template = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    old = made(JOB, spec={"template": template})

    def wrong(**status: Any) -> list[str]:
        fresh = {**copy.deepcopy(old), "status": status}
        return [f"{c.field}: {c.message}" for c in strategy_for(JOB).validate_update(fresh, old, "status")]

    now = "2026-01-01T00:00:00Z"
    done = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
    assert wrong(startTime=now, completionTime=now, conditions=done, succeeded=1) == []
    assert wrong(startTime=now, conditions=done) == [
        "status.completionTime: Required value: completionTime is required for Complete jobs"
    ]
    assert wrong(active=-1) == ["status.active: Invalid value: -1: must be greater than or equal to 0"]
    assert wrong(ready=1) == ["status.ready: Invalid value: 1: cannot set more ready pods than active"]
    old["status"] = {"failed": 2, "conditions": done, "startTime": now, "completionTime": now}
    assert "status.failed: Invalid value: 1: cannot decrease the failed counter" in wrong(
        **{**old["status"], "failed": 1}
    )
    assert "status.conditions: Invalid value: cannot disable the terminal Complete=True condition" in wrong()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 0),
        ("1", 1),
        ("0,2-4", 4),
        ("1-1", "non-increasing order, previous: 1, current: 1"),
        ("x", "cannot convert"),
    ],
)
def test_indexes(text: str, found: int | str) -> None:
    if isinstance(found, int):
        assert count_indexes(text, 10) == found
        return
    with pytest.raises(ValueError, match=found):
        count_indexes(text, 10)


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        ("*/5 1-3,7 * jan MON", ""),
        ("@hourly", ""),
        ("@every 1h30m", ""),
        ("@often", "unrecognized descriptor: @often"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
    ],
)
def test_schedules(schedule: str, wrong: str) -> None:
    assert check_schedule(schedule) == wrong


def test_cron_jobs() -> None:
    def wrong(name: str = "x", **spec: Any) -> list[str]:
        job = {"spec": {"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}}}
        return refused(CRON, name=name, spec={"schedule": "@daily", "jobTemplate": job, **spec})

    assert wrong(timeZone="Europe/Paris") == []
    assert wrong(timeZone="Mars/Olympus") == [
        'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'
    ]
    assert wrong(schedule="TZ=UTC 0 0 * * *") == [
        'spec.schedule: Invalid value: "TZ=UTC 0 0 * * *": '
        "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    ]
    assert wrong("n" * 53) == [f'metadata.name: Invalid value: "{"n" * 53}": must be no more than 52 characters']


# -- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"minReplicas": 4}, ["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"]),
        (
            {"metrics": [{"type": "Pods"}]},
            ["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
        ),
        (
            {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]},
            [
                "spec.metrics[0].resource.target.averageUtilization: Required value: "
                "must set either a target raw value or a target utilization"
            ],
        ),
        (
            {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 4000}}},
            [
                "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: "
                "must be less than or equal to 3600"
            ],
        ),
    ],
)
def test_autoscalers(spec: dict[str, Any], expected: list[str]) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    assert refused(SCALER, spec={"maxReplicas": 3, "scaleTargetRef": target, **spec}) == expected


def test_claims_say_twice_what_they_are_filled_from() -> None:
    gvk = GVK("", "v1", "PersistentVolumeClaim")
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    source = {"kind": "PersistentVolumeClaim", "name": "a"}
    claim = made(gvk, spec={**body, "dataSource": source})
    assert claim["spec"]["dataSourceRef"] == source and claim["status"] == {"phase": "Pending"}
    assert "dataSource" not in made(gvk, spec={**body, "dataSource": {"kind": "Pod", "name": "a"}})["spec"]
    _, [found] = changed(claim, {"accessModes": ["ReadOnlyMany"]})
    assert found.startswith("spec: Forbidden: spec is immutable after creation except resources.requests and")
    claim["status"] |= {"phase": "Bound", "capacity": {"storage": "2Gi"}}
    assert changed(claim, {"resources": {"requests": {"storage": "3Gi"}}})[1] == []


def test_accounts_keep_names_of_secrets_only() -> None:
    account = made(GVK("", "v1", "ServiceAccount"), secrets=[{"name": "a", "kind": "Secret", "uid": "1"}])
    assert account["secrets"] == [{"name": "a"}]
