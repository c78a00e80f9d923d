"""No request takes longer than it may: `timeout` of the query, or the server's own limit."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from time import perf_counter

from kumo.api.errors import StatusError, bad_request
from kumo.kubernetes.apiserver.visit import Visit, is_long_running
from kumo.machinery.http import first_values

_SWEEP = 1.0
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


@lru_cache(maxsize=256)
def go_duration(text: str) -> float:
    """The seconds of a duration as Go writes it (`1m30s`). Raises ValueError with Go's words."""
    quoted = f'"{text[:64]}"'
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return 0.0
    total, at = 0.0, 0
    while match := _PART.match(body, at):
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    if not body or at != len(body):
        rest = re.fullmatch(r"(?:\d+\.?\d*|\.\d+)([^\d.]*).*", body[at:])
        if rest is not None and not rest[1]:
            raise ValueError(f"time: missing unit in duration {quoted}")
        if rest is not None:
            raise ValueError(f'time: unknown unit "{rest[1][:16]}" in duration {quoted}')
        raise ValueError(f"time: invalid duration {quoted}")
    return -total if text[0] == "-" else total


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
