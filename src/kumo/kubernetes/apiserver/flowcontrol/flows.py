"""Flows, the priority levels they belong to, and a level's queues."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.flowcontrol.allocation import Bounds, Demand
from kumo.kubernetes.apiserver.flowcontrol.shards import deal

BUCKETS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
"""Upper bounds in seconds of the histograms of waiting and of execution (upstream's)."""
_SMOOTHING = 0.977
_FIRST_GUESS = 0.001
_MOST_RETRY_AFTER = 32


class Queue:
    """Requests that wait. `start` is the virtual time (in seat-seconds) at which its next request may begin."""

    __slots__ = ("executing", "index", "seats", "start", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Place] = deque()
        self.start = 0.0
        self.executing = 0
        self.seats = 0


class Level:
    """A priority level at work: `seats` are taken of at most `limit`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.exempt = False
        self.quiescing = False
        self.queues: list[Queue] = []
        self.hand = 0
        self.queue_limit = 0
        self.bounds = Bounds(0, 0, 0)
        self.limit = 0
        self.seats = 0
        self.executing = 0
        self.waiting = 0
        self.waiting_seats = 0
        self.high = 0
        self.smoothed = self.average = self.deviation = self.target = 0.0
        self.last_high = 0
        self.work = 0.0
        """Seat-seconds of the requests that ended in this period."""
        self.mean = _FIRST_GUESS
        """How long a request lately took, in seconds; what a request is charged until its time is known."""
        self.virtual = 0.0
        self.dispatched = self.rejected = self.timed_out = self.cancelled = 0
        self.retry_after = 1
        self._dropped: deque[float] = deque(maxlen=4 * _MOST_RETRY_AFTER)
        self._doubled = 0.0
        self.places: set[Place] = set()
        """Those that wait, and those that execute after having waited; the others are only counted."""

    def shape(self, queues: int, hand: int, limit: int) -> None:
        """Have that many queues from now on. Those who wait keep their places."""
        while len(self.queues) < queues:
            self.queues.append(Queue(len(self.queues)))
        surplus = [place for queue in self.queues[queues:] for place in queue.waiting]
        if len(self.queues) > queues:
            del self.queues[queues:]
            for number, place in enumerate(surplus):
                target = self.queues[number % queues] if queues else None
                if target is None:
                    place.give_up()
                else:
                    place.queue = target
                    target.waiting.append(place)
        self.hand, self.queue_limit = hand, limit

    def queue_for(self, value: int) -> Queue | None:
        """The shortest queue of the flow's hand; None when it is full or there are no queues."""
        if not self.queues:
            return None
        hand = deal(value, len(self.queues), self.hand)
        queue = min((self.queues[card] for card in hand), key=lambda q: (len(q.waiting), q.seats))
        return queue if len(queue.waiting) < self.queue_limit else None

    def next_queue(self) -> Queue | None:
        """The queue whose turn it is: the one that has had least (start-time fair queueing)."""
        best: Queue | None = None
        for queue in self.queues:
            if queue.waiting and (best is None or queue.start < best.start):
                best = queue
        return best

    def note_dropped(self, now: float) -> int:
        """Remember a refusal; the seconds after which its client should ask again.

        Doubles while refusals go on at three a second and more, shrinks again when they cease.
        """
        self._dropped.append(now)
        recent = sum(1 for at in self._dropped if now - at <= self.retry_after)
        if now - self._doubled >= self.retry_after and recent >= 3 * self.retry_after:
            self.retry_after = min(2 * self.retry_after, _MOST_RETRY_AFTER)
            self._doubled = now
        elif recent < self.retry_after > 1:
            self.retry_after -= 1
        return self.retry_after

    def take_demand(self, period: float) -> Demand:
        """What was wanted since the last call, `period` seconds ago.

        The deviation is the largest that the average and the high mark allow (Bhatia and Davis): measuring it would
        cost every request.
        """
        high = max(self.high, self.seats + self.waiting_seats)
        self.average = min(float(high), self.work / period) if period else 0.0
        self.deviation = (self.average * (high - self.average)) ** 0.5
        envelope = self.average + self.deviation
        self.smoothed = max(envelope, _SMOOTHING * self.smoothed + (1 - _SMOOTHING) * envelope)
        self.last_high, self.high, self.work = high, self.seats + self.waiting_seats, 0.0
        return Demand(self.bounds, high, self.smoothed)


class Flow:
    """The requests of one FlowSchema."""

    def __init__(self, name: str, uid: str, level: Level, method: str) -> None:
        self.name = name
        self.level = level
        self.method = method
        self.headers: Mapping[str, str] = {
            "X-Kubernetes-PF-FlowSchema-UID": uid,
            "X-Kubernetes-PF-PriorityLevel-UID": level.uid,
        }
        """What an answer tells of its classification."""
        self.dispatched = 0
        self.executing = 0
        self.seats = 0
        self.waiting = 0
        self.waiting_seats = 0
        self.rejected: dict[str, int] = {}
        self.executed = [0] * (len(BUCKETS) + 1)
        self.executed_seconds = 0.0
        self.waited: dict[bool, list[int]] = {}
        self.waited_seconds: dict[bool, float] = {}

    def adopt(self, old: Flow) -> None:
        """Go on counting where the flow's predecessor stopped."""
        self.dispatched, self.rejected = old.dispatched, old.rejected
        self.executed, self.executed_seconds = old.executed, old.executed_seconds
        self.waited, self.waited_seconds = old.waited, old.waited_seconds

    def distinguisher(self, user: str, namespace: str) -> str:
        """What tells this flow's streams of requests apart."""
        return user if self.method == "ByUser" else namespace if self.method == "ByNamespace" else ""


class Place:
    """One request's place: first perhaps in a queue, then on its seats, until it is left."""

    __slots__ = ("arrived", "began", "charged", "flow", "info", "queue", "seats", "turn", "user", "waiter")

    def __init__(self, flow: Flow, seats: int, began: float, turn: int) -> None:
        self.flow = flow
        self.seats = seats
        self.began = began
        self.turn = turn
        self.queue: Queue | None = None
        self.waiter: asyncio.Future[bool] | None = None
        self.charged = 0.0
        self.arrived = 0.0
        self.user = ""
        self.info: RequestInfo | None = None

    def give_up(self) -> None:
        """Tell the request that waits that it won't be served."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(False)
