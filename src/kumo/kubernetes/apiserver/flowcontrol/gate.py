"""Letting requests in, one after the other, so that nobody's requests keep out everybody else's.

Everything runs on one event loop. Two things are therefore scarce: seats (requests in progress that wait for the
store, a webhook, a body), and the loop's own time. Seats are counted by level as upstream does. For the loop's time
there is a budget a turn: once the requests of one turn have used it up, further ones queue, and the loop looks for new
requests before it goes on with those, level by level. An exempt request never queues.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from time import perf_counter

from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.flowcontrol.flows import BUCKETS, Flow, Level, Place
from kumo.kubernetes.apiserver.flowcontrol.matching import matches
from kumo.kubernetes.apiserver.flowcontrol.shards import flow_hash

TURN_SECONDS = 0.010
"""How long requests that may queue may keep the loop busy in one turn."""
_REMEMBERED = 4096
_WIDE = frozenset(("list", "watch"))
_READS = frozenset(("get", "list", "watch"))

Estimate = Callable[[RequestInfo, str, Level], int]
"""The seats that a list or a watch of that query takes."""


class TooManyRequests(Exception):
    """The request is refused; `headers` tell its classification and when to ask again."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__("too many requests")
        self.headers = headers


class Gate:
    """Lets requests in by flow schemas and priority levels. `configure` it before the first."""

    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate
        self._schemas: Sequence[tuple[dict[str, object], Flow]] = ()
        self._by_namespace = False
        self._known: dict[tuple[object, ...], Flow] = {}
        self.levels: dict[str, Level] = {}
        self.flows: dict[str, Flow] = {}
        self._turn = 0
        self._turning = False
        self._spent = 0.0
        self._waiting = 0
        self._order: list[Level] = []
        self.reading = 0
        self.writing = 0
        """The requests now in progress that only read, and the others."""

    def configure(self, schemas: Sequence[tuple[dict[str, object], Flow]], *, by_namespace: bool) -> None:
        """Sort by these from now on: flow schemas with their flows, in the order in which they are asked."""
        self._schemas = schemas
        self._by_namespace = by_namespace
        self._known.clear()
        self.flows = {flow.name: flow for _, flow in schemas}
        self._order = list(self.levels.values())

    def classify(self, user: UserInfo, info: RequestInfo) -> Flow:
        """The flow of the request."""
        if info.resource:
            where: object = info.namespace if self._by_namespace else bool(info.namespace)
            key: tuple[object, ...] = (
                user.name,
                user.groups,
                info.verb,
                info.group,
                info.resource,
                info.subresource,
                where,
            )
        else:
            key = (user.name, user.groups, info.verb, info.path)
        flow = self._known.get(key)
        if flow is None:
            flow = next((f for schema, f in self._schemas if matches(schema, user, info)), self._schemas[-1][1])
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            if len(info.path) < 512:
                self._known[key] = flow
        return flow

    def enter(self, user: UserInfo, info: RequestInfo, query: str) -> Place | None:
        """A place for the request, at once; None when it has to `wait`. Give it back with `leave`."""
        flow = self.classify(user, info)
        level = flow.level
        seats = self._estimate(info, query, level) if info.verb in _WIDE else 1
        if not level.exempt and (
            level.waiting
            or (self._spent > TURN_SECONDS and level.queues)
            or (level.seats + seats > level.limit and level.seats)
        ):
            return None
        return self._seat(Place(flow, seats, perf_counter(), self._turn), info)

    def _seat(self, place: Place, info: RequestInfo) -> Place:
        flow = place.flow
        level = flow.level
        level.executing += 1
        level.dispatched += 1
        level.seats += place.seats
        if level.seats > level.high:
            level.high = level.seats
        flow.executing += 1
        flow.dispatched += 1
        flow.seats += place.seats
        if info.verb in _READS:
            self.reading += 1
        else:
            self.writing += 1
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._next_turn)
        place.info = info
        return place

    def leave(self, place: Place) -> None:
        """The request is done (a watch: has begun)."""
        flow, info = place.flow, place.info
        if info is None:
            return
        place.info = None
        level, seats, took = flow.level, place.seats, perf_counter() - place.began
        level.executing -= 1
        level.seats -= seats
        level.work += took * seats
        level.mean += 0.05 * (took - level.mean)
        flow.executing -= 1
        flow.seats -= seats
        flow.executed[bisect_left(BUCKETS, took)] += 1
        flow.executed_seconds += took
        if info.verb in _READS:
            self.reading -= 1
        else:
            self.writing -= 1
        if place.turn == self._turn and not level.exempt:
            self._spent += took  # It has kept the loop busy throughout.
        queue = place.queue
        if queue is not None:
            queue.executing -= 1
            queue.seats -= seats
            queue.start += took * seats - place.charged
            level.places.discard(place)
        if level.waiting:
            self._soon()

    async def wait(self, user: UserInfo, info: RequestInfo, query: str, limit: float) -> Place:
        """Queue for at most `limit` seconds. Raises TooManyRequests."""
        flow = self.classify(user, info)
        level = flow.level
        place = Place(flow, self._estimate(info, query, level) if info.verb in _WIDE else 1, 0.0, -1)
        queue = level.queue_for(flow_hash(flow.name, flow.distinguisher(user.name, info.namespace)))
        if queue is None:
            raise self._refuse(flow, "queue-full" if level.queues else "concurrency-limit")
        loop = asyncio.get_running_loop()
        place.queue, place.user, place.info, place.arrived = queue, user.name, info, perf_counter()
        place.waiter = loop.create_future()
        if not queue.waiting and not queue.executing:
            queue.start = max(queue.start, level.virtual)
        queue.waiting.append(place)
        level.places.add(place)
        self._count_waiting(place, 1)
        level.high = max(level.high, level.seats + level.waiting_seats)
        self._soon()
        timer = loop.call_later(limit, place.give_up)
        try:
            served = await place.waiter
        except asyncio.CancelledError:
            if place.turn < 0:
                self._drop(place)
                level.cancelled += 1
            else:
                self.leave(place)
            raise
        finally:
            timer.cancel()
        waited = perf_counter() - place.arrived
        flow.waited.setdefault(served, [0] * (len(BUCKETS) + 1))[bisect_left(BUCKETS, waited)] += 1
        flow.waited_seconds[served] = flow.waited_seconds.get(served, 0.0) + waited
        if not served:
            self._drop(place)
            level.timed_out += 1
            raise self._refuse(flow, "time-out")
        place.began, place.turn = perf_counter(), self._turn
        return place

    def _count_waiting(self, place: Place, sign: int) -> None:
        flow = place.flow
        self._waiting += sign
        flow.level.waiting += sign
        flow.level.waiting_seats += sign * place.seats
        flow.waiting += sign
        flow.waiting_seats += sign * place.seats

    def _drop(self, place: Place) -> None:
        queue = place.queue
        if queue is not None and place in queue.waiting:
            queue.waiting.remove(place)
        place.flow.level.places.discard(place)
        self._count_waiting(place, -1)
        if self._waiting:
            self._soon()

    def _refuse(self, flow: Flow, why: str) -> TooManyRequests:
        flow.level.rejected += 1
        flow.rejected[why] = flow.rejected.get(why, 0) + 1
        after = flow.level.note_dropped(perf_counter())
        return TooManyRequests({"Retry-After": str(after), **flow.headers})

    # -- turns ------------------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turning = False
        self._turn += 1
        self._spent = 0.0
        if self._waiting:
            self._dispatch()

    def _dispatch(self) -> None:
        """Seat those whose turn it is: level after level, until the turn's time is planned or the seats are taken."""
        planned, able = 0.0, True
        while able and planned <= TURN_SECONDS:
            able = False
            for level in self._order:
                if level.waiting and self._seat_next(level):
                    able = True
                    planned += level.mean
        self._order.append(self._order.pop(0))  # The next turn begins with another level.
        self._spent = planned
        if able:
            self._soon()

    def _seat_next(self, level: Level) -> bool:
        queue = level.next_queue()
        if queue is None:
            return False
        place = queue.waiting[0]
        if level.seats + place.seats > level.limit and level.seats:
            return False
        assert place.waiter is not None
        assert place.info is not None
        if place.waiter.done():
            return False  # It has just given up; it takes itself out.
        queue.waiting.popleft()
        self._count_waiting(place, -1)
        level.virtual = max(level.virtual, queue.start)
        place.charged = level.mean * place.seats
        queue.start += place.charged
        queue.executing += 1
        queue.seats += place.seats
        place.began, place.turn = perf_counter(), self._turn
        self._seat(place, place.info)
        place.waiter.set_result(True)
        return True


class InFlightLimits:
    """What stands in for priority and fairness when it is off: at most so many requests at a time."""

    def __init__(self, reading: int, writing: int) -> None:
        self._most = (reading, writing)
        self.reading = 0
        self.writing = 0

    def enter(self, user: UserInfo, info: RequestInfo) -> bool:
        """Count the request. Raises TooManyRequests, except for a member of system:masters."""
        reads = info.verb in _READS
        limit = self._most[0 if reads else 1]
        if limit and (self.reading if reads else self.writing) >= limit and MASTERS_GROUP not in user.groups:
            raise TooManyRequests({"Retry-After": "1"})
        if reads:
            self.reading += 1
        else:
            self.writing += 1
        return reads

    def leave(self, reads: bool) -> None:
        """Count the request out; `reads` is what `enter` gave."""
        if reads:
            self.reading -= 1
        else:
            self.writing -= 1
