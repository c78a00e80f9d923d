"""Which pods of a job that goes on are deleted and created. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from kumo.api.objects import Object
from kumo.kubernetes.controller_manager.job import indexes
from kumo.kubernetes.controller_manager.job.backoff import Backoff, remaining, remaining_for_index
from kumo.kubernetes.controller_manager.job.view import View, is_terminating
from kumo.kubernetes.controller_manager.replicaset.ranking import to_delete

MOST = 500
"""How many pods are created or deleted in one go."""


@dataclass(slots=True)
class Orders:
    """Either pods to delete, or pods to create, each with its index (None where there are none), or seconds to wait."""

    delete: list[Object] = field(default_factory=list)
    create: list[int | None] = field(default_factory=list)
    wait: float | None = None


def orders(view: View, now: float, backoff: Backoff) -> Orders:
    """What to do so that the right number of pods runs."""
    if view.suspended:
        return Orders(delete=list(view.active))
    wanted = _wanted(view)
    surplus = removable(view, max(len(view.active) - wanted, 0), now)[:MOST]
    if surplus:
        return Orders(delete=surplus)
    missing = wanted - len(view.active) - (view.terminating if view.replaces_ended_only else 0)
    return _creations(view, missing, now, backoff) if missing > 0 else Orders()


def _wanted(view: View) -> int:
    parallelism = int(view.spec.get("parallelism", 1))
    if view.completions is None:
        return len(view.active) if view.succeeded else parallelism
    return max(min(view.completions - view.succeeded, parallelism), 0)


def removable(view: View, count: int, now: float) -> list[Object]:
    """At least `count` active pods that can go, the most dispensable first.

    In an Indexed job all those without a valid index, and of several with one index all but one.
    """
    if not view.indexed:
        return to_delete(view.active, (), count, now) if count else []
    gone, left = _repeated(view, now)
    if len(gone) < count:
        gone += to_delete(left, (), count - len(gone), now)
    return gone


def _repeated(view: View, now: float) -> tuple[list[Object], list[Object]]:
    """Pods that an Indexed job has no use for, and the others."""
    groups: dict[int | None, list[Object]] = defaultdict(list)
    for pod in view.active:
        groups[indexes.valid_index(pod, view.bound)].append(pod)
    gone = groups.pop(None, [])
    left: list[Object] = []
    for group in groups.values():
        spare = to_delete(group, (), len(group) - 1, now)
        gone += spare
        left += [pod for pod in group if not any(pod is other for other in spare)]
    return gone, left


def _creations(view: View, count: int, now: float, backoff: Backoff) -> Orders:
    by_index = view.failed_indexes is not None
    wait = 0.0 if by_index else remaining(view.record, now, backoff)
    if wait > 0:
        return Orders(wait=wait)
    count = min(count, MOST)
    if not view.indexed:
        return Orders(create=[None] * count)
    found = _pending(view, count)
    if not by_index:
        return Orders(create=list(found))
    kept = view.delayed or {}
    waits = {index: remaining_for_index(kept.get(index), now, backoff) for index in found}
    ready = [index for index in found if not waits[index]]
    if ready or not found:
        return Orders(create=list(ready))
    return Orders(wait=min(waits.values()))


def _pending(view: View, count: int) -> list[int]:
    """The first indexes that nobody works on."""
    taken = indexes.union(view.done, _indexes(view.active))
    if view.replaces_ended_only:
        taken = indexes.union(taken, _indexes([pod for pod in view.pods if is_terminating(pod)]))
    return indexes.missing(indexes.union(taken, view.failed_indexes or ()), count, view.bound)


def _indexes(pods: Sequence[Object]) -> indexes.Intervals:
    return indexes.of({index for pod in pods if (index := indexes.index_of(pod)) is not None})
