"""Which pods' samples count: `groupPods` of upstream's replica calculator. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kumo.api.conditions import condition
from kumo.api.objects import Object, is_deleting, name_of, parse_timestamp


class Sample(NamedTuple):
    """What a pod uses: thousandths, measured over `window` seconds that ended `at` (seconds since the epoch)."""

    value: int
    at: float = 0.0
    window: float = 0.0


Samples = dict[str, Sample]
"""By pod."""


@dataclass(slots=True)
class Groups:
    """How many pods count, and the names of those that are unready, without sample, and of no account."""

    ready: int = 0
    unready: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)


def group(
    pods: Iterable[Object],
    samples: Mapping[str, Sample],
    resource: str,
    *,
    cpu_initialization: float,
    initial_readiness: float,
    now: float,
) -> Groups:
    """The pods by what their samples are worth. `resource` is empty for metrics that are no resource."""
    found = Groups()
    for pod in pods:
        name, status = name_of(pod), pod.get("status") or {}
        phase = status.get("phase")
        if is_deleting(pod) or phase == "Failed":
            found.ignored.add(name)
        elif phase == "Pending":
            found.unready.add(name)
        elif name not in samples:
            found.missing.add(name)
        elif resource == "cpu" and _cpu_unready(pod, samples[name], cpu_initialization, initial_readiness, now):
            found.unready.add(name)
        else:
            found.ready += 1
    return found


def _cpu_unready(pod: Object, sample: Sample, initialization: float, initial_readiness: float, now: float) -> bool:
    ready = condition(pod, "Ready")
    started_text = (pod.get("status") or {}).get("startTime")
    if ready is None or not started_text:
        return True
    started = parse_timestamp(started_text)
    changed = parse_timestamp(ready["lastTransitionTime"]) if ready.get("lastTransitionTime") else 0.0
    unready = ready.get("status") == "False"
    if started + initialization > now:
        # The work of starting is not the work that the pod is there for.
        return unready or sample.at < changed + sample.window
    return unready and started + initial_readiness > changed
