"""How ended pods are counted, each once, whatever dies when. Pure.

A pod that has ended keeps the tracking finalizer until its uid is in `status.uncountedTerminatedPods` (or, a success of
an Indexed job, its index in `status.completedIndexes`) as written; only then its finalizer goes, and only when that is
gone its uid moves from there into the counts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, is_deleting, uid_of
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.job import indexes, verdict
from kumo.kubernetes.controller_manager.job.view import Condition, Status, View

LONGEST = 500
"""How many pods may be on their way into the counts, so that the status stays small."""


@dataclass(slots=True)
class Account:
    """Pods whose finalizer is to go once the status is written; `holding` are the uids of those that have it now.

    `full`: there are more pods to count than one status holds.
    """

    release: list[Object] = field(default_factory=list)
    holding: set[str] = field(default_factory=set)
    full: bool = False


def enter(view: View, now: float) -> Account:
    """Enter pods that have ended into the view's status, and the condition by which the job is to end."""
    holding = {uid_of(pod) for pod in view.pods if not view.is_counted(pod)}
    made = Account(holding=holding)
    settle(view.status, holding)
    pods = sorted(view.pods, key=_order) if view.indexed else view.pods
    listed = view.status["uncountedTerminatedPods"]
    fresh: list[int] = []
    for pod in pods:
        if view.is_counted(pod) or not _may_go(view, pod):
            continue
        made.release.append(pod)
        _enter(view, pod, listed, fresh)
        if len(fresh) + len(listed["succeeded"]) + len(listed["failed"]) >= LONGEST:
            made.full = True
            break
    if view.indexed:
        _write_indexes(view, fresh)
    _announce(view, now)
    return made


def _order(pod: Object) -> int:
    index = indexes.index_of(pod)
    return -1 if index is None else index


def _may_go(view: View, pod: Object) -> bool:
    if is_deleting(view.job) or view.finished is not None or p.phase(pod) == "Succeeded":
        return True
    if not view.has_failed(pod):
        return False
    if view.ending:  # upstream keeps the last failed pod of an index for ever then, and the namespace with it
        return True
    kept = (view.delayed or {}).get(_order(pod))
    return kept is None or uid_of(kept) != uid_of(pod)


def _enter(view: View, pod: Object, listed: dict[str, list[str]], fresh: list[int]) -> None:
    uid = uid_of(pod)
    if p.phase(pod) == "Succeeded" and uid not in view.uncounted["failed"]:
        if view.indexed:
            index = indexes.valid_index(pod, view.bound)
            if index is not None and not indexes.contains(view.done_before, index):
                fresh.append(index)
        elif uid not in view.uncounted["succeeded"]:
            listed["succeeded"].append(uid)
        return
    given_up = view.finished is not None and view.finished["type"] != "SuccessCriteriaMet"
    if not (view.has_failed(pod) or given_up) or uid in view.uncounted["failed"] or not view.valid(pod):
        return
    if view.match(pod).counted:
        listed["failed"].append(uid)


def _write_indexes(view: View, fresh: list[int]) -> None:
    view.done = indexes.union(view.done, indexes.of(fresh))
    view.status["succeeded"] = indexes.total(view.done)
    view.status["completedIndexes"] = indexes.written(view.done)
    if view.failed_indexes is not None:
        view.status["failedIndexes"] = indexes.written(view.failed_indexes)
    else:
        view.status.pop("failedIndexes", None)


def _announce(view: View, now: float) -> None:
    """Write the condition of the decision, and make `finished` the one that follows when all is counted."""
    new = view.finished
    if new is None or new["type"] not in ("FailureTarget", "SuccessCriteriaMet"):
        return
    listed: list[Condition] = view.status.setdefault("conditions", [])
    if conditions.find(listed, new["type"]) is None:
        listed.append(new)
    kind = "Failed" if new["type"] == "FailureTarget" else "Complete"
    view.finished = verdict.condition(kind, new.get("reason", ""), new.get("message", ""), now)


def settle(status: Status, holding: Collection[str]) -> None:
    """Move the uids of pods without finalizer into the counts, in place."""
    listed = status["uncountedTerminatedPods"]
    for kind in ("succeeded", "failed"):
        left = [uid for uid in listed[kind] if uid in holding]
        status[kind] = int(status.get(kind) or 0) + len(listed[kind]) - len(left)
        listed[kind] = left


def finish(view: View, account: Account) -> bool:
    """Write the final condition if all pods are counted and gone; whether the job has ended with it."""
    if view.finished is None or account.full or view.terminating:
        return False
    if any(view.status["uncountedTerminatedPods"].values()):
        return False
    verdict.ensure(view.status, view.finished)
    if view.finished["type"] == "Complete":
        view.status["completionTime"] = view.finished["lastTransitionTime"]
    return True


def clean(status: Status) -> dict[str, Any]:
    """The status as it is written: without what is empty, except what upstream always writes."""
    listed = {k: list(v) for k, v in status["uncountedTerminatedPods"].items() if v}
    always = ("ready", "terminating", "uncountedTerminatedPods", "failedIndexes")
    return {k: v for k, v in {**status, "uncountedTerminatedPods": listed}.items() if v or k in always}
