"""No request takes longer than it may: `timeout` of the query, or the server's own limit."""

from __future__ import annotations

import asyncio
from time import perf_counter

from kumo.api.durations import go_duration
from kumo.api.errors import StatusError, bad_request
from kumo.kubernetes.apiserver.visit import Visit, is_long_running
from kumo.machinery.http import first_values

_SWEEP = 1.0


def timed_out() -> StatusError:
    """504: the request was not done in time."""
    text = "Timeout: request did not complete within the allotted timeout"
    return StatusError(504, "Timeout", text, {})


class Deadlines:
    """Ends requests that take longer than `limit` seconds, or than they wanted to.

    All but the few with a time of their own have the same limit: they are kept in the order of their arrival, and one
    timer looks at the oldest. That a request is watched costs it two operations on a dictionary.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._running: dict[Visit, None] = {}
        self._sweeping = False

    def enter(self, visit: Visit) -> None:
        """Watch the request. Raises 400 for a time that can't be read."""
        info = visit.info
        if is_long_running(info):
            return
        visit.task = asyncio.current_task()
        query = visit.request.query_string
        if query and "timeout=" in query:
            wanted = _wanted(query)
            if 0 < wanted < self.limit:
                visit.timer = asyncio.get_running_loop().call_later(wanted, self._end, visit)
                return
        self._running[visit] = None
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    def leave(self, visit: Visit) -> None:
        """The request is done."""
        if visit.timer is not None:
            visit.timer.cancel()
            visit.timer = None
        else:
            self._running.pop(visit, None)
        visit.task = None

    def _sweep(self) -> None:
        now = perf_counter()
        for visit in list(self._running):
            if now - visit.began < self.limit:
                break
            del self._running[visit]
            self._end(visit)
        if self._running:
            asyncio.get_running_loop().call_later(_SWEEP, self._sweep)
        else:
            self._sweeping = False

    @staticmethod
    def _end(visit: Visit) -> None:
        if visit.task is not None:
            visit.timed_out = True
            visit.task.cancel()


def _wanted(query: str) -> float:
    text = first_values(query).get("timeout", "")
    if not text:
        return 0.0
    try:
        return go_duration(text)
    except ValueError as error:
        raise bad_request(f"invalid timeout specified in the request URL - {error}") from None
