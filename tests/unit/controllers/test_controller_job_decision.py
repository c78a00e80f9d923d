"""Jobs played through in memory: pods end as the play says, the books must be right in the end."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.objects import timestamp
from kumo.kubernetes.controller_manager.job.decision import TRACKING, Plan, expiry, plan

pytestmark = pytest.mark.unit


class Play:
    """A job and its pods in memory."""

    def __init__(self, **spec: Any) -> None:
        self.job: Any = {"metadata": {"name": "j", "uid": "j"}, "spec": {"template": {}, **spec}}
        self.pods: dict[str, Any] = {}
        self.made = 0
        self.now = 1_000_000.0

    def step(self) -> Plan:
        self.now += 1
        found = plan(self.job, list(self.pods.values()), self.now, settled=True)
        self.job["status"] = found.status
        for pod in found.release:
            pod["metadata"]["finalizers"] = []
        for pod in found.delete:
            pod["metadata"]["deletionTimestamp"] = "x"
            pod["status"]["phase"] = "Failed"
        for _ in range(found.create):
            self.made += 1
            name = f"p{self.made}"
            meta = {"name": name, "uid": name, "finalizers": [TRACKING], "creationTimestamp": "1970-01-12T13:46:40Z"}
            self.pods[name] = {"metadata": meta, "status": {"phase": "Running"}}
        return found

    def end(self, phase: str, count: int = 1) -> None:
        running = [o for o in self.pods.values() if o["status"]["phase"] == "Running"]
        for pod in running[:count]:
            ended = {"terminated": {"finishedAt": timestamp(self.now)}}
            pod["status"] = {"phase": phase, "containerStatuses": [{"state": ended}]}

    def settle(self) -> None:
        for _ in range(10):
            self.step()

    def reason(self, kind: str) -> str:
        return (conditions.condition(self.job, kind) or {}).get("reason", "")


def test_controller_job_runs_to_completion_and_counts_each_pod_once() -> None:
    play = Play(completions=5, parallelism=2)
    for _ in range(5):
        play.settle()
        assert play.job["status"]["active"] <= 2
        play.end("Succeeded")
    play.settle()
    assert (play.reason("Complete"), play.job["status"]["succeeded"], play.made) == ("CompletionsReached", 5, 5)
    assert play.job["status"]["uncountedTerminatedPods"] == {}


def test_controller_job_counts_go_on_when_counted_pods_are_deleted() -> None:
    play = Play(completions=2, parallelism=1)
    play.settle()
    play.end("Succeeded")
    play.step()
    play.pods.clear()
    play.settle()
    assert play.job["status"]["succeeded"] == 1
    play.end("Succeeded")
    play.settle()
    assert play.reason("Complete") == "CompletionsReached"


def test_controller_job_fails_after_its_backoff_limit_and_waits_between() -> None:
    play = Play(completions=1, backoffLimit=1)
    play.settle()
    play.end("Failed")
    found = play.step()
    assert found.create == 0 and (found.again or 0) > 0
    play.now += 60
    play.settle()
    play.end("Failed")
    play.settle()
    assert (play.reason("Failed"), play.job["status"]["failed"], play.made) == ("BackoffLimitExceeded", 2, 2)


def test_controller_job_ends_at_its_deadline_and_expires() -> None:
    play = Play(completions=1, activeDeadlineSeconds=30, ttlSecondsAfterFinished=5)
    play.settle()
    assert expiry(play.job) is None
    play.now += 31
    play.settle()
    assert play.reason("Failed") == "DeadlineExceeded"
    assert expiry(play.job) is not None


def test_controller_job_suspended_has_no_pods() -> None:
    play = Play(completions=1, suspend=True)
    play.settle()
    assert (play.made, play.reason("Suspended")) == (0, "JobSuspended")
    play.job["spec"]["suspend"] = False
    play.settle()
    assert (play.made, play.reason("Suspended")) == (1, "JobResumed")
