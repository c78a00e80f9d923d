"""`/debug/api_priority_and_fairness/...`: the gate's state as upstream's three tables."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from time import perf_counter

from kumo.kubernetes.apiserver.flowcontrol.flows import Level, Place
from kumo.kubernetes.apiserver.flowcontrol.gate import Gate

PREFIX = "/debug/api_priority_and_fairness/"
_LEVELS = (
    "PriorityLevelName ActiveQueues IsIdle IsQuiescing WaitingRequests ExecutingRequests DispatchedRequests "
    "RejectedRequests TimedoutRequests CancelledRequests"
)
_QUEUES = (
    "PriorityLevelName Index PendingRequests ExecutingRequests SeatsInUse NextDispatchR InitialSeatsSum MaxSeatsSum "
    "TotalWorkSum"
)
_REQUESTS = (
    "PriorityLevelName FlowSchemaName QueueIndex RequestIndexInQueue FlowDistingsher ArriveTime InitialSeats "
    "FinalSeats AdditionalLatency StartTime"
)
_DETAILS = "UserName Verb APIPath Namespace Name APIVersion Resource SubResource"


def dump(gate: Gate, name: str, *, details: bool) -> str | None:
    """The table of that name as text, or None if there is none; `details`: with what the requests ask for."""
    if name == "dump_priority_levels":
        return _table([_LEVELS.split(), *(_level(gate.levels[n]) for n in sorted(gate.levels))])
    if name == "dump_queues":
        return _table([_QUEUES.split(), *_queues(gate)])
    if name == "dump_requests":
        heads = _REQUESTS.split() + (_DETAILS.split() if details else [])
        return _table([heads, *_requests(gate, details)])
    return None


def _level(level: Level) -> list[str]:
    active = sum(1 for queue in level.queues if queue.waiting)
    idle = not level.waiting and not level.executing
    flags = [str(flag).lower() for flag in (idle, level.quiescing)]
    counts = (
        level.waiting,
        level.executing,
        level.dispatched,
        level.rejected,
        level.timed_out,
        level.cancelled,
    )
    return [level.name, str(active), *flags, *map(str, counts)]


def _queues(gate: Gate) -> Iterator[list[str]]:
    for level in gate.levels.values():
        for queue in level.queues:
            seats = sum(place.seats for place in queue.waiting)
            work = sum(place.seats * level.mean for place in queue.waiting)
            yield [
                level.name,
                str(queue.index),
                str(len(queue.waiting)),
                str(queue.executing),
                str(queue.seats),
                f"{queue.start:.8f}ss",
                str(seats),
                str(seats),
                f"{work:.8f}ss",
            ]


def _requests(gate: Gate, details: bool) -> Iterator[list[str]]:
    for level in gate.levels.values():
        waiting = [(p, q.index, n) for q in level.queues for n, p in enumerate(q.waiting)]
        queued = {id(place) for place, _, _ in waiting}
        running = [(p, p.queue.index if p.queue else -1, -1) for p in level.places if id(p) not in queued]
        for place, queue, index in (*waiting, *running):
            yield [*_place(level, place, queue, index), *(_asked(place) if details else ())]


def _place(level: Level, place: Place, queue: int, index: int) -> list[str]:
    namespace = place.info.namespace if place.info else ""
    return [
        level.name,
        place.flow.name,
        str(queue),
        str(index),
        place.flow.distinguisher(place.user, namespace),
        _wall(place.arrived),
        str(place.seats),
        "0",
        "0s",
        _wall(place.began) if place.began else "0001-01-01T00:00:00Z",
    ]


def _asked(place: Place) -> list[str]:
    info = place.info
    if info is None:
        return [""] * 8
    version = f"{info.group}/{info.version}" if info.group else info.version
    return [place.user, info.verb, info.path, info.namespace, info.name, version, info.resource, info.subresource]


def _wall(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(time.time() - (perf_counter() - at), datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns at least eight wide, each cell but the last with its comma (upstream's form)."""
    cells = [[*(f"{c}," for c in row[:-1]), row[-1]] for row in rows]
    widths = [max(8, 1 + max(len(row[i]) for row in cells)) for i in range(len(cells[0]) - 1)]
    lines = ["".join(c.ljust(w) for c, w in zip(row, widths, strict=False)) + row[-1] for row in cells]
    return "\n".join(lines) + "\n"
