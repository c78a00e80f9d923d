"""Makes room for a critical pod by ending others, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from kumo.api.objects import Object, timestamp, uid_of
from kumo.kubernetes.kubelet.admission import Refusal
from kumo.kubernetes.kubelet.allocation import Allocations
from kumo.kubernetes.kubelet.ending import Ending
from kumo.kubernetes.kubelet.preemption.victims import NoVictims, victims
from kumo.kubernetes.kubelet.spec import full_name, grace_period, is_critical

REASON = "Preempting"
MESSAGE = "Preempted in order to admit critical pod"
_DISRUPTION = "Pod was preempted by Kubelet to accommodate a critical pod."
_TRIES = 3
"""How often others are ended: who comes meanwhile may take what has become free."""
_MORE, _LEAST = 1.5, 10.0
"""How much longer than its grace period (and how many seconds at least) a pod may take to end."""
_log = structlog.get_logger("kumo.kubelet")


class Preemptable(Protocol):
    """What the preemptor needs of a pod's worker."""

    uid: str
    over: asyncio.Event

    @property
    def pod(self) -> Object:
        """The pod object."""
        ...

    def end(self, cause: Ending, *, event: str = "") -> None:
        """End the pod before its time."""
        ...


class Preemptor:
    """`workers` are those of all pods of the node."""

    def __init__(self, allocations: Allocations, workers: Callable[[], Iterable[Preemptable]]) -> None:
        self._allocations = allocations
        self._workers = workers
        self._one = asyncio.Lock()
        self.counted: Callable[[str], None] = lambda resource: None
        """Hears of each pod that has ended, by the resource that was missing."""

    async def admit(self, pod: Object, refusal: Refusal) -> Refusal | None:
        """Take a critical pod that was refused for want of resources, when others can end for it; else why not."""
        if not is_critical(pod) or not refusal.reason.startswith("OutOf"):
            return refusal
        # One critical pod after the other: two must not count on the same victims.
        async with self._one:
            found = self._allocations.admit(pod)
            for _ in range(_TRIES):
                if found is None or not found.reason.startswith("OutOf"):
                    return found
                wrong = await self._end_others(pod)
                if wrong is not None:
                    return wrong
                found = self._allocations.admit(pod)
            return found

    async def _end_others(self, pod: Object) -> Refusal | None:
        """End as many pods as have to; why nobody can, if so."""
        missing = self._allocations.missing(pod)
        active = {w.uid: w for w in self._workers() if w.uid != uid_of(pod) and self._allocations.book(w.uid)}
        try:
            chosen = victims(pod, [self._allocations.given(w.pod) for w in active.values()], missing)
        except NoVictims as error:
            text = "Unexpected error while attempting to recover from admission failure: preemption: error finding "
            return Refusal("UnexpectedAdmissionError", f"{text}a set of pods to preempt: {error}")
        for victim in chosen:
            _log.warning("ending a pod for a critical one", pod=full_name(victim), critical=full_name(pod))
            worker = active[uid_of(victim)]
            worker.end(Ending(REASON, MESSAGE, timestamp(), _DISRUPTION), event=REASON)
            try:
                async with asyncio.timeout(_MORE * grace_period(victim) + _LEAST):
                    await worker.over.wait()
                self.counted(next(iter(missing), ""))
            except TimeoutError:
                _log.warning("a pod does not end for a critical one", pod=full_name(victim), critical=full_name(pod))
        return None
