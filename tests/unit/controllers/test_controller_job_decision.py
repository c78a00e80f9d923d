"""Jobs played through in memory: pods end as the play says, the books must be right in the end."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.objects import timestamp
from kumo.kubernetes.controller_manager.job import books, verdict
from kumo.kubernetes.controller_manager.job.backoff import FAILURES, IGNORED, Backoff, Record
from kumo.kubernetes.controller_manager.job.expiry import expiry
from kumo.kubernetes.controller_manager.job.indexes import INDEX, index_of
from kumo.kubernetes.controller_manager.job.orders import Orders, orders
from kumo.kubernetes.controller_manager.job.template import pod_for
from kumo.kubernetes.controller_manager.job.view import TRACKING, has_finalizer, look

pytestmark = pytest.mark.unit


class Play:
    """A job and its pods in memory. With `slow` nodes, pods that are deleted go only when `reap` is called."""

    def __init__(self, *, slow: bool = False, **spec: Any) -> None:
        spec.setdefault("template", {"spec": {"containers": [{"name": "c"}]}})
        meta = {"name": "j", "namespace": "n", "uid": "j"}
        self.job: Any = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
        self.pods: dict[str, Any] = {}
        self.made = 0
        self.now = 1_000_000.0
        self.record = Record()
        self.slow = slow
        self.ending = False
        """Whether the namespace is going: the server creates nothing in it."""
        self.events: list[str] = []

    def step(self, *, die: str = "") -> Orders:
        """One reconcile, as the shell does it; with `die` the controller dies before it enters, releases or counts."""
        self.now += 1
        view = look(self.job, deepcopy(list(self.pods.values())), (), self.record, self.now)
        view.finished = verdict.verdict(view, self.now)
        made = Orders()
        if view.finished is not None:
            self.delete(view.active, release=False)
            left = 0
            view.terminating += len(view.active)
        else:
            made = orders(view, self.now, Backoff())
            self.delete(made.delete, release=True)
            view.terminating += len(made.delete)
            view.ending = self.ending
            for index in () if self.ending else made.create:
                self.create(pod_for(self.job, index, (view.delayed or {}).get(-1 if index is None else index)))
            left = len(view.active) - len(made.delete) + len(made.create)
            if verdict.is_complete(view, left):
                view.finished = verdict.completion(self.now)
            else:
                event = verdict.suspension(view, self.now)
                self.events += [event[0]] if event else []
        view.status["active"], view.status["terminating"] = left, view.terminating
        account = books.enter(view, self.now)
        if die == "enter":
            return made
        self.write(view.status)
        if die == "release":
            return made
        self.record = view.record
        for pod in account.release:
            self.release(self.pods.get(pod["metadata"]["name"], pod))
        if die == "count":
            return made
        books.settle(view.status, account.holding - {p["metadata"]["uid"] for p in account.release})
        books.finish(view, account)
        self.write(view.status)
        return made

    def write(self, status: dict[str, Any]) -> None:
        self.job["status"] = books.clean(status)

    def create(self, pod: Any) -> None:
        self.made += 1
        name = f"p{self.made}"
        pod["metadata"] |= {"name": name, "uid": name, "creationTimestamp": timestamp(self.now)}
        pod["status"] = {"phase": "Running"}
        self.pods[name] = pod

    def delete(self, pods: list[Any], *, release: bool) -> None:
        for pod in [self.pods[pod["metadata"]["name"]] for pod in pods]:
            pod["metadata"]["deletionTimestamp"] = timestamp(self.now)
            if release:
                self.release(pod)
            if not self.slow:
                pod["status"]["phase"] = "Failed"
                self.sweep(pod)

    def release(self, pod: Any) -> None:
        pod["metadata"]["finalizers"] = [f for f in pod["metadata"].get("finalizers") or () if f != TRACKING]
        self.sweep(pod)

    def sweep(self, pod: Any) -> None:
        """A pod that is to be deleted, has ended and has no finalizer is gone."""
        ended = pod["status"]["phase"] in ("Succeeded", "Failed")
        if "deletionTimestamp" in pod["metadata"] and ended and not has_finalizer(pod):
            self.pods.pop(pod["metadata"]["name"], None)

    def reap(self) -> None:
        """The nodes end the pods that are to be deleted."""
        for pod in [p for p in self.pods.values() if "deletionTimestamp" in p["metadata"]]:
            pod["status"]["phase"] = "Failed"
            self.sweep(pod)

    def end(self, phase: str, count: int = 1, *, code: int = 0, index: int | None = None, **status: Any) -> None:
        running = [o for o in self.pods.values() if o["status"]["phase"] == "Running"]
        if index is not None:
            running = [o for o in running if index_of(o) == index]
        for pod in running[:count]:
            ended = {"terminated": {"finishedAt": timestamp(self.now), "exitCode": code}}
            pod["status"] = {"phase": phase, "containerStatuses": [{"name": "c", "state": ended}], **status}

    def settle(self) -> None:
        for _ in range(10):
            self.step()

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.job["status"]
        return found

    def reason(self, kind: str) -> str:
        return (conditions.condition(self.job, kind) or {}).get("reason", "")

    def running(self) -> list[int | None]:
        live = [p for p in self.pods.values() if p["status"]["phase"] == "Running"]
        return [index_of(p) for p in live if "deletionTimestamp" not in p["metadata"]]


def test_controller_job_runs_to_completion_and_counts_each_pod_once() -> None:
    play = Play(completions=5, parallelism=2)
    for _ in range(5):
        play.settle()
        assert play.status["active"] <= 2
        play.end("Succeeded")
    play.settle()
    assert (play.reason("Complete"), play.status["succeeded"], play.made) == ("CompletionsReached", 5, 5)
    assert play.status["uncountedTerminatedPods"] == {}
    assert [c["type"] for c in play.status["conditions"]] == ["SuccessCriteriaMet", "Complete"]


@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
@pytest.mark.parametrize("die", ["enter", "release", "count"])
def test_controller_job_that_dies_anywhere_counts_nothing_twice(die: str, mode: str) -> None:
    play = Play(completions=6, parallelism=3, completionMode=mode)
    for round_ in range(6):
        play.step(die=die)
        play.record = Record()
        play.step()
        play.end("Failed" if round_ == 2 else "Succeeded", 1)
        play.step(die=die)
        play.step(die=die)
        for name in [n for n, p in play.pods.items() if not has_finalizer(p)]:
            del play.pods[name]
        play.now += 700
    for _ in range(4):
        play.settle()
        play.end("Succeeded")
    play.settle()
    assert (play.reason("Complete"), play.status["succeeded"], play.status["failed"]) == ("CompletionsReached", 6, 1)
    assert play.made == 7


def test_controller_job_counts_go_on_when_counted_pods_are_deleted() -> None:
    play = Play(completions=2, parallelism=1)
    play.settle()
    play.end("Succeeded")
    play.step()
    play.pods = {n: p for n, p in play.pods.items() if p["status"]["phase"] == "Running"}
    play.settle()
    assert play.status["succeeded"] == 1
    play.end("Succeeded")
    play.settle()
    assert play.reason("Complete") == "CompletionsReached"


def test_controller_job_fails_after_its_backoff_limit_and_waits_between() -> None:
    play = Play(completions=1, backoffLimit=1)
    play.settle()
    play.end("Failed")
    found = play.step()
    assert found.create == [] and 8 <= (found.wait or 0) <= 10
    play.now += 60
    play.settle()
    play.end("Failed")
    play.settle()
    assert (play.reason("Failed"), play.status["failed"], play.made) == ("BackoffLimitExceeded", 2, 2)
    assert [c["type"] for c in play.status["conditions"]] == ["FailureTarget", "Failed"]


def test_controller_job_that_fails_ends_when_its_last_pod_is_gone() -> None:
    play = Play(slow=True, completions=3, parallelism=3, backoffLimit=0)
    play.settle()
    play.end("Failed")
    play.settle()
    assert (play.reason("FailureTarget"), play.reason("Failed")) == ("BackoffLimitExceeded", "")
    assert (play.status["terminating"], play.status["failed"]) == (2, 3)
    play.reap()
    play.settle()
    assert (play.reason("Failed"), play.status["terminating"], play.status["failed"]) == ("BackoffLimitExceeded", 0, 3)


def test_controller_job_ends_at_its_deadline_and_expires() -> None:
    play = Play(completions=1, activeDeadlineSeconds=30, ttlSecondsAfterFinished=5)
    play.settle()
    assert expiry(play.job) is None
    play.now += 31
    play.settle()
    assert play.reason("Failed") == "DeadlineExceeded"
    assert expiry(play.job) is not None


def test_controller_job_suspended_has_no_pods_and_starts_anew() -> None:
    play = Play(completions=2, parallelism=2, suspend=False)
    play.settle()
    first = play.status["startTime"]
    play.job["spec"]["suspend"] = True
    play.settle()
    assert (play.running(), play.reason("Suspended"), play.events) == ([], "JobSuspended", ["Suspended"])
    assert "startTime" not in play.status and "failed" not in play.status
    play.job["spec"]["suspend"] = False
    play.settle()
    assert (play.made, play.reason("Suspended"), play.events) == (4, "JobResumed", ["Suspended", "Resumed"])
    assert play.status["startTime"] > first


def test_controller_job_without_completions_ends_with_its_first_success() -> None:
    play = Play(parallelism=3)
    play.settle()
    play.end("Succeeded")
    play.settle()
    assert (play.status["active"], play.reason("Complete"), play.made) == (2, "", 3)
    play.end("Succeeded", 2)
    play.settle()
    assert (play.reason("Complete"), play.status["succeeded"]) == ("CompletionsReached", 3)


def test_controller_job_gives_each_index_to_one_pod_and_replaces_it() -> None:
    play = Play(completions=4, parallelism=2, completionMode="Indexed", backoffLimit=6)
    play.settle()
    assert play.running() == [0, 1]
    play.end("Failed", index=0)
    play.end("Succeeded", index=1)
    play.now += 20
    play.settle()
    assert sorted(play.running(), key=str) == [0, 2]
    play.end("Succeeded", 2)
    play.settle()
    assert (play.running(), play.status["completedIndexes"], play.status["failed"]) == ([3], "0-2", 1)


def test_controller_job_of_fewer_completions_drops_what_is_beyond() -> None:
    play = Play(completions=6, parallelism=6, completionMode="Indexed")
    play.settle()
    play.end("Succeeded", index=4)
    play.settle()
    assert play.status["succeeded"] == 1
    play.job["spec"] |= {"completions": 3, "parallelism": 3}
    play.settle()
    assert (play.running(), play.status.get("succeeded", 0), play.status.get("failed", 0)) == ([0, 1, 2], 0, 0)


def test_controller_job_limits_failures_of_each_index() -> None:
    play = Play(completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1, backoffLimit=2**31 - 1)
    play.settle()
    assert [p["metadata"]["annotations"][FAILURES] for p in play.pods.values()] == ["0", "0"]
    play.end("Failed", index=0)
    assert play.step().wait is not None and has_finalizer(play.pods["p1"])
    play.now += 15
    play.settle()
    assert play.pods["p3"]["metadata"]["annotations"] == {INDEX: "0", FAILURES: "1"}
    assert not has_finalizer(play.pods["p1"]) and play.status["failed"] == 1
    play.end("Failed", index=0)
    play.settle()
    assert (play.status["failedIndexes"], play.running(), play.reason("Failed")) == ("0", [1], "")
    play.end("Succeeded", index=1)
    play.settle()
    assert (play.reason("Failed"), play.status["completedIndexes"]) == ("FailedIndexes", "1")


def test_controller_job_keeps_no_pod_in_a_namespace_that_ends() -> None:
    play = Play(completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1, backoffLimit=2**31 - 1)
    play.settle()
    play.ending = True
    for pod in list(play.pods.values()):
        pod["metadata"]["deletionTimestamp"] = timestamp(play.now)
        pod["status"]["phase"] = "Failed"
    play.now += 15
    play.step()
    assert not play.pods
    assert play.status["failed"] == 2


def test_controller_job_fails_with_too_many_failed_indexes() -> None:
    limits = {"backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "backoffLimit": 2**31 - 1}
    play = Play(completions=5, parallelism=5, completionMode="Indexed", **limits)
    play.settle()
    play.end("Failed", index=0)
    play.settle()
    assert play.reason("Failed") == ""
    play.end("Failed", index=3)
    play.settle()
    assert (play.reason("Failed"), play.status["failedIndexes"]) == ("MaxFailedIndexesExceeded", "0,3")


def policy(action: str, **rule: Any) -> dict[str, Any]:
    rule = rule or {"onExitCodes": {"operator": "In", "values": [42]}}
    return {"podFailurePolicy": {"rules": [{"action": action, **rule}]}, "podReplacementPolicy": "Failed"}


def test_controller_job_failure_policy_fails_the_job() -> None:
    play = Play(completions=3, parallelism=2, **policy("FailJob"))
    play.settle()
    play.end("Failed", code=42)
    play.settle()
    found = conditions.condition(play.job, "Failed") or {}
    words = "Container c for pod n/p1 failed with exit code 42 matching FailJob rule at index 0"
    assert (found.get("reason"), found.get("message")) == ("PodFailurePolicy", words)
    assert (play.status["failed"], play.made) == (2, 2)


def test_controller_job_failure_policy_ignores() -> None:
    condition = {"type": "DisruptionTarget", "status": "True"}
    play = Play(completions=1, backoffLimit=0, **policy("Ignore", onPodConditions=[condition]))
    play.settle()
    play.end("Failed", conditions=[condition])
    play.now += 20
    play.settle()
    assert (play.made, play.status.get("failed", 0), play.reason("Failed")) == (2, 0, "")
    play.end("Failed")
    play.settle()
    assert (play.reason("Failed"), play.status["failed"]) == ("BackoffLimitExceeded", 1)


def test_controller_job_failure_policy_of_an_index() -> None:
    limits = {"backoffLimitPerIndex": 3, "backoffLimit": 2**31 - 1}
    play = Play(completions=2, parallelism=2, completionMode="Indexed", **limits, **policy("FailIndex"))
    play.settle()
    play.end("Failed", index=1, code=42)
    play.settle()
    assert (play.status["failedIndexes"], play.running()) == ("1", [0])
    ignoring = Play(completions=1, completionMode="Indexed", **limits, **policy("Ignore"))
    ignoring.settle()
    ignoring.end("Failed", code=42)
    ignoring.now += 30
    ignoring.settle()
    assert ignoring.pods["p2"]["metadata"]["annotations"] == {INDEX: "0", FAILURES: "0", IGNORED: "1"}


@pytest.mark.parametrize(
    ("rule", "early"),
    [
        ({"succeededIndexes": "0,2"}, True),
        ({"succeededIndexes": "0-3", "succeededCount": 2}, True),
        ({"succeededCount": 2}, True),
        ({"succeededCount": 3}, False),
        ({"succeededIndexes": "1"}, False),
        ({"succeededIndexes": "x"}, False),
    ],
)
def test_controller_job_success_policy(rule: dict[str, Any], early: bool) -> None:
    play = Play(completions=4, parallelism=4, completionMode="Indexed", successPolicy={"rules": [rule]})
    play.settle()
    play.end("Succeeded", index=0)
    play.end("Succeeded", index=2)
    play.settle()
    found = conditions.condition(play.job, "Complete") or {}
    assert (found.get("reason") == "SuccessPolicy") is early
    if early:
        assert found["message"] == "Matched rules at index 0"
        assert (play.status["succeeded"], play.status.get("failed", 0), play.running()) == (2, 0, [])
        assert play.status["completedIndexes"] == "0,2"


@pytest.mark.parametrize(("replacement", "made"), [("TerminatingOrFailed", 2), ("Failed", 1)])
def test_controller_job_pod_replacement(replacement: str, made: int) -> None:
    play = Play(slow=True, completions=1, podReplacementPolicy=replacement)
    play.settle()
    play.delete(list(play.pods.values()), release=False)
    play.now += 30
    play.settle()
    assert (play.made, play.status["terminating"]) == (made, 1)
    play.reap()
    play.now += 30
    play.settle()
    assert (play.made, play.status["failed"], play.status["terminating"]) == (2, 1, 0)


def test_controller_job_restarts_count_where_the_kubelet_restarts() -> None:
    template = {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c"}]}}
    play = Play(completions=1, backoffLimit=3, template=template)
    play.settle()
    status = play.pods["p1"]["status"]
    status["initContainerStatuses"] = [{"name": "i", "restartCount": 1}]
    status["containerStatuses"] = [{"name": "c", "restartCount": 1}]
    play.settle()
    assert play.reason("Failed") == ""
    status["containerStatuses"][0]["restartCount"] = 2
    play.settle()
    assert play.reason("Failed") == "BackoffLimitExceeded"


def test_controller_job_that_is_deleted_frees_its_pods() -> None:
    play = Play(slow=True, completions=3, parallelism=3)
    play.settle()
    play.job["metadata"]["deletionTimestamp"] = timestamp(play.now)
    for pod in play.pods.values():
        pod["metadata"]["deletionTimestamp"] = timestamp(play.now)
        view = look(play.job, list(play.pods.values()), (), Record(), play.now)
    account = books.enter(view, play.now)
    assert len(account.release) == 3


def test_controller_job_counts_in_parts_of_what_a_status_holds() -> None:
    play = Play(completions=700, parallelism=700)
    play.step()
    play.step()
    assert play.made == 700
    play.end("Succeeded", 700)
    play.step(die="release")
    assert len(play.status["uncountedTerminatedPods"]["succeeded"]) == books.LONGEST
    play.settle()
    assert (play.status["succeeded"], play.reason("Complete")) == (700, "CompletionsReached")
