"""A job and its pods as one look at them shows: who is active, what is counted, which indexes are done. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, is_deleting, timestamp, uid_of
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.job import failure_policy, indexes
from kumo.kubernetes.controller_manager.job.backoff import Record, advance, all_failures, failures, finished_at
from kumo.kubernetes.controller_manager.job.indexes import Intervals

TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer that keeps a pod until it is counted."""
OWN_NAME = "kubernetes.io/job-controller"
"""`spec.managedBy` of jobs that this controller runs, if it is there at all."""

Status = dict[str, Any]
Condition = dict[str, Any]


def is_finished(job: Object) -> bool:
    """Whether the job is complete or has failed."""
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


def is_foreign(job: Object) -> bool:
    """Whether somebody else's controller runs the job."""
    return job["spec"].get("managedBy") not in (None, OWN_NAME)


def has_finalizer(pod: Object) -> bool:
    """Whether the pod is still to be counted."""
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def is_terminating(pod: Object) -> bool:
    """Whether the pod is to be deleted and has not ended yet."""
    return is_deleting(pod) and not p.has_ended(pod)


@dataclass(slots=True)
class View:
    """One look; `status` is its own copy, which becomes what is written.

    `expected` are uids of pods whose finalizer was removed without the informer showing it yet. `done_before` are the
    indexes in the status, `done` also those of pods not counted yet; `failed_indexes` is None without a limit for each
    index. `delayed` are the failed pods that are kept, by index, until another of their index carries their count on.
    """

    job: Object
    status: Status
    pods: list[Object]
    expected: Collection[str]
    active: list[Object]
    ready: int
    terminating: int
    uncounted: dict[str, set[str]]
    record: Record
    succeeded: int = 0
    failed: int = 0
    done_before: Intervals = ()
    done: Intervals = ()
    failed_indexes: Intervals | None = None
    delayed: dict[int, Object] | None = None
    finished: Condition | None = None
    ending: bool = False
    """Whether the namespace is going: no pod is created any more, so none is kept for another's sake."""

    @property
    def spec(self) -> dict[str, Any]:
        """The job's spec."""
        found: dict[str, Any] = self.job["spec"]
        return found

    @property
    def indexed(self) -> bool:
        """Whether each completion has an index."""
        return bool(self.spec.get("completionMode") == "Indexed")

    @property
    def completions(self) -> int | None:
        """How many successes are wanted; None if any one will do."""
        found = self.spec.get("completions")
        return None if found is None else int(found)

    @property
    def bound(self) -> int:
        """The first index that the job doesn't have (Indexed jobs always have completions)."""
        return self.completions or 0

    @property
    def suspended(self) -> bool:
        """Whether the job is to have no pods for now."""
        return bool(self.spec.get("suspend"))

    @property
    def replaces_ended_only(self) -> bool:
        """Whether a pod is replaced when it has ended, not already when it is to be deleted."""
        return self.spec.get("podReplacementPolicy") == "Failed" or self.spec.get("podFailurePolicy") is not None

    def is_counted(self, pod: Object) -> bool:
        """Whether the pod has been through the books already."""
        return not has_finalizer(pod) or uid_of(pod) in self.expected

    def has_failed(self, pod: Object) -> bool:
        """Whether the pod is a failure; one that is being deleted may never come to say so itself."""
        if p.phase(pod) == "Failed":
            return True
        return not self.replaces_ended_only and is_terminating(pod)

    def match(self, pod: Object) -> failure_policy.Match:
        """What the failure policy says of a failed pod."""
        return failure_policy.match(self.spec.get("podFailurePolicy"), pod)

    def valid(self, pod: Object) -> bool:
        """Whether the pod may count at all: in an Indexed job only with an index that the job has."""
        return not self.indexed or indexes.valid_index(pod, self.bound) is not None


def look(job: Object, pods: Sequence[Object], expected: Collection[str], record: Record, now: float) -> View:
    """Look at a job and its pods; `record` is the back-off's before them."""
    status: Status = deepcopy(job.get("status") or {})
    listed = status.get("uncountedTerminatedPods") or {}
    status["uncountedTerminatedPods"] = {kind: list(listed.get(kind) or ()) for kind in ("succeeded", "failed")}
    active = [pod for pod in pods if p.is_active(pod)]
    view = View(
        job=job,
        status=status,
        pods=list(pods),
        expected=expected,
        active=active,
        ready=sum(map(p.is_ready, active)),
        terminating=sum(map(is_terminating, pods)),
        uncounted={kind: set(uids) for kind, uids in status["uncountedTerminatedPods"].items()},
        record=record,
    )
    _count(view)
    if not status.get("startTime") and not view.suspended:
        status["startTime"] = timestamp(now)
    if view.indexed:
        _count_indexes(view)
    return view


def _count(view: View) -> None:
    fresh = [pod for pod in view.pods if not view.is_counted(pod) and view.valid(pod)]
    known = view.uncounted
    succeeded = [o for o in fresh if p.phase(o) == "Succeeded" and uid_of(o) not in known["succeeded"]]
    failed = [o for o in fresh if view.has_failed(o) and uid_of(o) not in known["failed"]]
    view.record = advance(view.record, succeeded, failed)
    view.succeeded = int(view.status.get("succeeded") or 0) + len(succeeded) + len(known["succeeded"])
    counting = sum(view.match(pod).counted for pod in failed)
    view.failed = int(view.status.get("failed") or 0) + counting + len(known["failed"])


def _count_indexes(view: View) -> None:
    bound = view.bound
    waiting = [(indexes.valid_index(pod, bound), pod) for pod in view.pods if has_finalizer(pod)]
    mine = [(index, pod) for index, pod in waiting if index is not None]
    view.done_before = indexes.parse(view.status.get("completedIndexes") or "", bound)
    new = indexes.of({index for index, pod in mine if p.phase(pod) == "Succeeded"})
    view.done = indexes.union(view.done_before, new)
    view.succeeded = indexes.total(view.done)
    limit = view.spec.get("backoffLimitPerIndex")
    if limit is not None:
        before = indexes.parse(view.status.get("failedIndexes") or "", bound)
        lost = indexes.of({index for index, pod in mine if _index_fails(view, pod, int(limit))})
        view.failed_indexes = indexes.union(before, lost)
        view.delayed = _delayed(view, mine)


def _index_fails(view: View, pod: Object, limit: int) -> bool:
    if not view.has_failed(pod):
        return False
    found = view.match(pod)
    return found.action == "FailIndex" or (found.counted and failures(pod) >= limit)


def _delayed(view: View, mine: list[tuple[int, Object]]) -> dict[int, Object]:
    """The last failed pod of each index that is neither done, given up nor running again."""
    busy = {indexes.index_of(pod) for pod in view.active}
    settled = indexes.union(view.done, view.failed_indexes or ())
    kept: dict[int, Object] = {}
    for index, pod in mine:
        if index in busy or uid_of(pod) in view.expected or not view.has_failed(pod):
            continue
        if indexes.contains(settled, index):
            continue
        other = kept.get(index)
        if other is None or (all_failures(other) <= all_failures(pod) and finished_at(pod) >= finished_at(other)):
            kept[index] = pod
    return kept
