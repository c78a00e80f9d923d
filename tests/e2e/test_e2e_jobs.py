"""Jobs and cron jobs with real containers, by the real kubectl: indexes, policies, a killed control plane."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from support.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMESPACE = "jobs"


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Cloud]:
    cloud.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")
    cloud.kubectl("create", "namespace", NAMESPACE)
    yield cloud
    cloud.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", check=False)


def job(name: str, script: str, **spec: Any) -> str:
    main = {
        "name": "main",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
    }
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [main]}
    spec = {"template": {"spec": pod}, **spec}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})


def run(space: Cloud, *words: str, stdin: str = "") -> str:
    return str(space.kubectl("-n", NAMESPACE, *words, stdin=stdin).stdout)


def status(space: Cloud, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(space, "get", "job", name, "-o", "json"))["status"]
    return found


def test_an_indexed_job_tells_each_pod_its_index(space: Cloud) -> None:
    script = "echo $JOB_COMPLETION_INDEX on $(hostname)"
    run(space, "apply", "-f", "-", stdin=job("index", script, completions=3, parallelism=3, completionMode="Indexed"))
    run(space, "wait", "--for=condition=complete", "job/index", "--timeout=60s")
    logs = run(space, "logs", "-l", "job-name=index", "--tail=-1").splitlines()
    assert sorted(logs) == [f"{n} on index-{n}" for n in range(3)]
    assert status(space, "index")["completedIndexes"] == "0-2"
    assert "Complete" in run(space, "get", "job", "index")


def test_a_job_that_can_not_be_saved_fails_at_once(space: Cloud) -> None:
    rules = [{"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}}]
    body = job("doomed", "exit 42", backoffLimit=6, podFailurePolicy={"rules": rules})
    run(space, "apply", "-f", "-", stdin=body)
    run(space, "wait", "--for=condition=failed", "job/doomed", "--timeout=60s")
    found = status(space, "doomed")
    last = next(c for c in found["conditions"] if c["type"] == "Failed")
    assert last["reason"] == "PodFailurePolicy" and "exit code 42 matching FailJob rule at index 0" in last["message"]
    assert found["failed"] == 1 and "PodFailurePolicy" in run(space, "describe", "job", "doomed")


def test_a_job_whose_leader_succeeds_is_done(space: Cloud) -> None:
    script = "test $JOB_COMPLETION_INDEX = 0 || sleep 600"
    early = {"rules": [{"succeededIndexes": "0"}]}
    body = job("leader", script, completions=3, parallelism=3, completionMode="Indexed", successPolicy=early)
    run(space, "apply", "-f", "-", stdin=body)
    run(space, "wait", "--for=condition=complete", "job/leader", "--timeout=60s")
    found = status(space, "leader")
    assert (found["succeeded"], found.get("failed", 0), found["terminating"]) == (1, 0, 0)


def test_a_job_is_suspended_and_resumed(space: Cloud) -> None:
    run(space, "apply", "-f", "-", stdin=job("pause", "sleep 600", completions=2, parallelism=2))
    space.wait(lambda: status(space, "pause").get("ready") == 2, 30, "both pods run")
    run(space, "patch", "job", "pause", "-p", '{"spec":{"suspend":true}}')
    space.wait(lambda: not run(space, "get", "pods", "-l", "job-name=pause", "-o", "name"), 30, "no pod is left")
    assert "Suspended" in run(space, "get", "job", "pause")
    run(space, "patch", "job", "pause", "-p", '{"spec":{"suspend":false}}')
    space.wait(lambda: status(space, "pause").get("ready") == 2, 30, "both pods run again")
    run(space, "delete", "job", "pause", "--cascade=foreground", "--timeout=30s")
    assert not run(space, "get", "pods", "-l", "job-name=pause", "-o", "name")


def test_a_job_counts_right_when_the_control_plane_is_killed(space: Cloud) -> None:
    run(space, "apply", "-f", "-", stdin=job("many", "true", completions=12, parallelism=4))
    for share in (2, 6):
        space.wait(lambda share=share: status(space, "many").get("succeeded", 0) >= share, 60, f"{share} are done")
        os.kill(space.pid("control-plane"), signal.SIGKILL)
        space.wait(lambda: space.kubectl("get", "--raw", "/readyz", check=False).returncode == 0, 30, "it is back")
    run(space, "wait", "--for=condition=complete", "job/many", "--timeout=90s")
    found = status(space, "many")
    assert (found["succeeded"], found.get("failed", 0), found["uncountedTerminatedPods"]) == (12, 0, {})
    assert len(run(space, "get", "pods", "-l", "job-name=many", "-o", "name").split()) == 12


def test_a_cron_job_by_hand_and_by_the_clock(space: Cloud) -> None:
    run(space, "create", "cronjob", "tick", "--image=busybox", "--schedule=@every 2s", "--", "date")
    run(space, "patch", "cronjob", "tick", "-p", '{"spec":{"successfulJobsHistoryLimit":1}}')
    space.wait(lambda: "SawCompletedJob" in run(space, "describe", "cronjob", "tick"), 60, "a job has ended")
    run(space, "patch", "cronjob", "tick", "-p", '{"spec":{"suspend":true}}')
    run(space, "create", "job", "manual", "--from=cronjob/tick")
    run(space, "wait", "--for=condition=complete", "job/manual", "--timeout=60s")
    run(space, "delete", "cronjob", "tick", "--cascade=foreground", "--timeout=30s")
