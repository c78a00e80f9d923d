"""The pods that wait to be scheduled: ready ones by priority, those backing off, and those nothing helps yet.

Upstream's SchedulingQueue. A pod that fits nowhere stays aside until something happens that a plugin which refused it
takes for a hope; then it waits out its back-off, unless nobody else is waiting. After five minutes aside it is tried
again anyway. Gated pods are nowhere in the queue until their gates are gone.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kumo.api.objects import Object
from kumo.kubernetes.scheduler.cluster_events import Happening, Interest, label_of

FLUSH_AFTER = 300.0
FLUSH_EVERY = 30.0
_FAILED = "ScheduleAttemptFailure"


@dataclass(slots=True)
class Waiting:
    """One pod in the queue: its uid, how important it is, how often it was tried, who refused it."""

    uid: str
    priority: int
    pod: Object
    profile: str = ""
    attempts: int = 0
    first: float | None = None
    """When it was first tried, by the clock of whoever tries it."""
    errors: int = 0
    due: float = 0.0
    aside_since: float = 0.0
    plugins: frozenset[str] = frozenset()
    place: str = ""
    """`active`, `backoff`, `errors`, `aside`, or empty while it is being tried."""
    token: int = field(default=0)
    """Which entry of a heap is the valid one."""


Interests = Mapping[str, Mapping[str, Sequence[Interest]]]
"""By profile and plugin."""


class SchedulingQueue:
    """`initial` and `ceiling` are the first and the longest back-off in seconds; `clock` is monotonic."""

    def __init__(
        self,
        interests: Interests | None = None,
        *,
        initial: float = 1.0,
        ceiling: float = 10.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._interests = interests or {}
        self._initial = initial
        self._ceiling = ceiling
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._pods: dict[str, Waiting] = {}
        self._active: list[tuple[float, int, str]] = []
        self._backoff: list[tuple[float, int, str]] = []
        self._errors: list[tuple[float, int, str]] = []
        self._aside: dict[str, Waiting] = {}
        self._held: set[str] = set()
        self.happenings = 0
        """How many events there were: whoever waits in the midst of a try can see whether he missed some."""
        self.incoming: Counter[tuple[str, str]] = Counter()
        """How many pods came into which queue after which event, in upstream's words."""
        self._count = itertools.count(1)
        self._wake = asyncio.Event()

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def __len__(self) -> int:
        return len(self._pods)

    def lengths(self) -> dict[str, int]:
        """How many pods wait where."""
        found = {"active": 0, "backoff": 0, "unschedulable": 0}
        for pod in self._pods.values():
            name = {"aside": "unschedulable", "errors": "backoff"}.get(pod.place, pod.place)
            if name:
                found[name] += 1
        return found

    def refused(self) -> list[tuple[str, frozenset[str]]]:
        """The profiles of the pods that fit nowhere, and the plugins that refused them."""
        return [(pod.profile, pod.plugins) for pod in self._pods.values() if pod.plugins]

    def place_of(self, uid: str) -> str:
        """Where the pod waits; empty if it does not."""
        found = self._pods.get(uid)
        return found.place if found is not None else ""

    # -- coming and going -------------------------------------------------------------------------------------------

    def add(self, uid: str, priority: int, pod: Object, profile: str = "") -> None:
        """A new pod that wants a node."""
        if uid not in self._pods:
            self._pods[uid] = Waiting(uid, priority, pod, profile)
            self._activate(self._pods[uid], "UnschedulablePodAdd")

    def changed_itself(self, uid: str, priority: int, event: Happening) -> None:
        """The waiting pod was changed: one that is aside gets another try if that may help it."""
        found = self._pods.get(uid)
        if found is None or event.new is None:
            return
        found.priority, found.pod = priority, event.new
        if found.place == "active":
            self._activate(found)
        elif found.place == "aside" and self._hopes(found, event):
            self._requeue(found, label_of(event))

    def remove(self, uid: str) -> None:
        """The pod needs no node any more."""
        self._pods.pop(uid, None)
        self._aside.pop(uid, None)
        self._held.discard(uid)

    def hold(self, uid: str) -> None:
        """Let nothing bring the pod back until it is released: room is being made for it."""
        self._held.add(uid)

    def release(self, uid: str) -> None:
        """Events count again for the pod."""
        self._held.discard(uid)

    def activate(self, uid: str) -> None:
        """Try the pod again at once, wherever it waits."""
        found = self._pods.get(uid)
        if found is not None and found.place in ("aside", "backoff", "errors"):
            self._aside.pop(uid, None)
            self._activate(found, "ForceActivate")

    # -- after a try ------------------------------------------------------------------------------------------------

    def set_aside(self, uid: str, plugins: Iterable[str]) -> None:
        """No node will do; wait for what may move one of the plugins. Without any the pod just backs off."""
        found = self._pods.get(uid)
        if found is None or found.place:
            return
        found.plugins = frozenset(plugins)
        found.errors = 0
        now = self._clock()
        found.due = now + self._delay(found.attempts)
        if not found.plugins:
            self._push_backoff(found, _FAILED)
            return
        self.incoming["unschedulable", _FAILED] += 1
        found.place, found.aside_since = "aside", now
        self._aside[uid] = found

    def retry(self, uid: str) -> None:
        """Try a pod that was set aside again after its back-off: something happened meanwhile."""
        found = self._aside.get(uid)
        if found is not None and uid not in self._held:
            self._requeue(found, _FAILED)

    def back_off(self, uid: str) -> None:
        """Something failed that may pass: try again after the back-off, however short the queue."""
        found = self._pods.get(uid)
        if found is None or found.place:
            return
        found.errors += 1
        found.plugins = frozenset()
        found.due = self._clock() + self._delay(found.errors)
        found.place, found.token = "errors", next(self._count)
        heapq.heappush(self._errors, (found.due, found.token, uid))
        self.incoming["backoff", _FAILED] += 1
        self._wake.set()

    # -- events -----------------------------------------------------------------------------------------------------

    def happened(self, event: Happening) -> None:
        """Something happened in the cluster: queue the pods that it gives hope."""
        self.happenings += 1
        for found in [p for p in self._aside.values() if self._hopes(p, event)]:
            self._requeue(found, label_of(event))

    def flush(self) -> None:
        """Queue the pods that were aside for five minutes."""
        limit = self._clock() - FLUSH_AFTER
        for found in [p for p in self._aside.values() if p.aside_since <= limit and p.uid not in self._held]:
            self._requeue(found, "UnschedulableTimeout")

    def _hopes(self, pod: Waiting, event: Happening) -> bool:
        if pod.uid in self._held:
            return False
        known = self._interests.get(pod.profile, {})
        for plugin in pod.plugins:
            for interest in known.get(plugin, ()):
                concerns = interest.resource is event.resource and interest.actions & event.action
                if concerns and (interest.hint is None or interest.hint(pod.pod, event)):
                    return True
        return bool(pod.plugins - known.keys())

    # -- taking -----------------------------------------------------------------------------------------------------

    async def get(self) -> Waiting:
        """The most important pod that is ready, the longest waiting among equals.

        While none is, the one whose back-off ends first: waiting helps nobody then (those that failed wait it out).
        """
        while True:
            self._move_due(self._backoff, "backoff")
            self._move_due(self._errors, "errors")
            found = self._pop(self._active, "active")
            if found is None and (found := self._pop(self._backoff, "backoff")) is not None:
                self.incoming["active", "PopFromBackoffQ"] += 1
            if found is not None:
                found.attempts += 1
                found.place = ""
                return found
            self._wake.clear()
            timeout = max(0.0, self._errors[0][0] - self._clock()) if self._errors else None
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pop(self, heap: list[tuple[float, int, str]], place: str) -> Waiting | None:
        while heap:
            _, token, uid = heapq.heappop(heap)
            found = self._pods.get(uid)
            if found is not None and found.place == place and found.token == token:
                return found
        return None

    def _move_due(self, heap: list[tuple[float, int, str]], place: str) -> None:
        now = self._clock()
        while heap and heap[0][0] <= now:
            _, token, uid = heapq.heappop(heap)
            found = self._pods.get(uid)
            if found is not None and found.place == place and found.token == token:
                self._activate(found, "BackoffComplete")

    def _requeue(self, pod: Waiting, why: str) -> None:
        self._aside.pop(pod.uid, None)
        if pod.due > self._clock():
            self._push_backoff(pod, why)
        else:
            self._activate(pod, why)

    def _push_backoff(self, pod: Waiting, why: str) -> None:
        pod.place, pod.token = "backoff", next(self._count)
        heapq.heappush(self._backoff, (pod.due, pod.token, pod.uid))
        self.incoming["backoff", why] += 1
        self._wake.set()

    def _activate(self, pod: Waiting, why: str = "") -> None:
        """Let the pod be tried next; `why` is the event that brought it here, empty for one that is here already."""
        pod.place, pod.token = "active", next(self._count)
        heapq.heappush(self._active, (-pod.priority, pod.token, pod.uid))
        if why:
            self.incoming["active", why] += 1
        self._wake.set()

    def _delay(self, times: int) -> float:
        # A pod that fits nowhere is tried for days: a power of two above 1,023 is no number any more.
        return min(self._initial * 2.0 ** min(max(times - 1, 0), 60), self._ceiling)
