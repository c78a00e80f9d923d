"""How long a job waits before it replaces failed pods: doubling with each failure since the last success. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, annotations_of, parse_timestamp

FAILURES = "batch.kubernetes.io/job-index-failure-count"
"""Annotation of a pod: how many pods of its index have failed before it, where failures count."""
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
"""The same for failures that the failure policy ignores."""
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first and the longest wait, in seconds (upstream's values)."""

    first: float = 10.0
    longest: float = 600.0


@dataclass(frozen=True, slots=True)
class Record:
    """Failures of a job's pods since the last success, and when the last one was (epoch seconds)."""

    failures: int = 0
    last: float = 0.0


def advance(record: Record, succeeded: Sequence[Object], failed: Sequence[Object]) -> Record:
    """The record after these pods have ended."""
    ends = [finished_at(pod) for pod in failed]
    if not succeeded:
        return Record(record.failures + len(ends), max(ends)) if ends else record
    success = max(finished_at(pod) for pod in succeeded)
    later = [end for end in ends if end > success]
    return Record(len(later), max(later)) if later else Record()


def remaining(record: Record, now: float, backoff: Backoff) -> float:
    """Seconds until another pod may be created."""
    if not record.failures:
        return 0.0
    wait = min(backoff.first * 2.0 ** min(record.failures - 1, 60), backoff.longest)
    return max(record.last + wait - now, 0.0)


def remaining_for_index(replaced: Object | None, now: float, backoff: Backoff) -> float:
    """The same for one index, whose last failed pod is `replaced`."""
    if replaced is None:
        return 0.0
    return remaining(Record(all_failures(replaced) + 1, finished_at(replaced)), now, backoff)


def failures(pod: Object) -> int:
    """Failures of the pod's index before it, those that count."""
    return _count(annotations_of(pod).get(FAILURES))


def ignored_failures(pod: Object) -> int:
    """Failures of the pod's index before it that the failure policy ignored."""
    return _count(annotations_of(pod).get(IGNORED))


def all_failures(pod: Object) -> int:
    """Failures of the pod's index before it, ignored ones too."""
    return failures(pod) + ignored_failures(pod)


def _count(text: str | None) -> int:
    """Anything that is no count of upstream's width is none."""
    found = int(text) if text and len(text) < 12 and text.isascii() and text.isdigit() else 0
    return found if found <= _LARGEST else 0


def finished_at(pod: Object) -> float:
    """When the pod ended (epoch seconds).

    By its containers if all have ended, else since it is not ready, else when it was deleted, else when it was made.
    """
    found = _by_containers(pod)
    if found is not None:
        return found
    ready = conditions.condition(pod, "Ready")
    if ready is not None and ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return parse_timestamp(ready["lastTransitionTime"])
    meta = pod.get("metadata") or {}
    if meta.get("deletionTimestamp"):
        return parse_timestamp(meta["deletionTimestamp"]) - int(meta.get("deletionGracePeriodSeconds") or 0)
    return parse_timestamp(meta["creationTimestamp"])


def _by_containers(pod: Object) -> float | None:
    status = pod.get("status") or {}
    sidecars = {
        c["name"] for c in (pod.get("spec") or {}).get("initContainers") or () if c.get("restartPolicy") == "Always"
    }
    known = list(status.get("containerStatuses") or ())
    known += [s for s in status.get("initContainerStatuses") or () if s.get("name") in sidecars]
    ends = list(_ends(known))
    return max(ends) if ends and len(ends) == len(known) else None


def _ends(statuses: Iterable[dict[str, Any]]) -> Iterable[float]:
    for status in statuses:
        moment = ((status.get("state") or {}).get("terminated") or {}).get("finishedAt")
        if moment:
            yield parse_timestamp(moment)
