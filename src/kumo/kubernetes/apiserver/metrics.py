"""What the API server counts of each request, with upstream's names, labels and buckets.

Counting must cost next to nothing: a row of plain numbers a combination of labels, put into words only when somebody
asks for `/metrics` (see `measurements`).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from time import perf_counter
from typing import Protocol

from kumo.api.errors import StatusError
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, RequestInfo
from kumo.kubernetes.apiserver.instruments import Instruments
from kumo.kubernetes.apiserver.slicing import in_slices
from kumo.machinery.exposition import CONTENT_TYPE, Histogram, Sample, family, histogram_lines, histograms
from kumo.machinery.http import Response, Sink

_SECONDS = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0),
    *(4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
_SIZES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
_STEP_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_LABELS = ("verb", "group", "version", "resource", "subresource", "scope", "component", "dry_run")
_MOST_ROWS = 5000
_AT_ONCE = 2000
"""How many lines are put together at a time."""
_VERBS = {"create": "POST", "update": "PUT"}
_PATHS = frozenset(
    (
        *("/", "/api", "/apis", "/healthz", "/livez", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3"),
        *("/openid/v1/jwks", "/readyz", "/version", "/.well-known/openid-configuration"),
    )
)
Collect = Callable[[], list[str]]
"""Gives lines of the text format when /metrics is asked for."""


class _Row:
    """The requests of one combination of labels."""

    __slots__ = ("codes", "seconds", "size_total", "sizes", "total")

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.seconds = [0] * (len(_SECONDS) + 1)
        self.total = 0.0
        self.sizes = [0] * (len(_SIZES) + 1)
        self.size_total = 0


class Metrics:
    """The counters of one API server."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], _Row] = {}
        self._terminations: dict[tuple[str, ...], int] = {}
        self._collectors: list[Collect] = []
        self.authenticated: dict[str, int] = {}
        """Requests by who asked: `admin`, `kubelet`, ... or `other`, as upstream compresses user names."""
        self.instruments = Instruments()
        """What is counted and measured in other places."""
        self.unauthenticated = 0
        self.allowed = 0
        self.denied = 0

    def add(self, collect: Collect) -> None:
        """Show what `collect` gives as well."""
        self._collectors.append(collect)

    def count(self, info: RequestInfo, code: int, seconds: float, size: int = -1, dry_run: str = "") -> None:
        """Count an answered request; `size` is its body's length in bytes, negative when unknown."""
        key = _labels(info, dry_run)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= _MOST_ROWS:
                return  # What nobody serves must not fill the memory.
            row = self._rows[key] = _Row()
        row.codes[code] = row.codes.get(code, 0) + 1
        if info.verb != "watch":
            row.seconds[bisect_left(_SECONDS, seconds)] += 1
            row.total += seconds
            if size >= 0:
                row.sizes[bisect_left(_SIZES, size)] += 1
                row.size_total += size

    def terminated(self, info: RequestInfo, code: int) -> None:
        """Count a request that the server ended itself: too many, or too late."""
        key = (str(code), *_labels(info, ""))
        if key in self._terminations or len(self._terminations) < _MOST_ROWS:
            self._terminations[key] = self._terminations.get(key, 0) + 1

    async def response(self) -> Response:
        """The answer of /metrics, made in slices: a server of many kinds has ten thousands of lines."""
        lines = await in_slices(self._requests(), _line)
        lines += self._access()
        for collect in (*self.instruments.collectors(), *self._collectors):
            lines += collect()
            await asyncio.sleep(0)
        starts = range(0, len(lines), _AT_ONCE)
        body = await in_slices(starts, lambda at: ("\n".join(lines[at : at + _AT_ONCE]) + "\n").encode())
        return Response(200, body, CONTENT_TYPE)

    def _requests(self) -> Iterator[str]:
        rows = sorted(self._rows.items())
        totals = [((*key, str(code)), float(n)) for key, row in rows for code, n in sorted(row.codes.items())]
        yield from family("counter", "apiserver_request_total", _TOTAL_HELP, (*_LABELS, "code"), totals)
        timed = [(key, row) for key, row in rows if any(row.seconds)]
        yield from histogram_lines(
            "apiserver_request_duration_seconds",
            _DURATION_HELP,
            _LABELS,
            ((key, _histogram(_SECONDS, row.seconds, row.total)) for key, row in timed),
        )
        yield from histogram_lines("apiserver_request_sli_duration_seconds", _SLI_HELP, _LABELS[:-1], _slis(timed))
        sized = [
            (key[:-1], _histogram(_SIZES, row.sizes, row.size_total))
            for key, row in timed
            if key[0] in ("GET", "LIST") and any(row.sizes)
        ]
        yield from histogram_lines("apiserver_response_sizes", _SIZES_HELP, _LABELS[:-1], sized)
        ended = [((key[0], *key[1:-1]), float(n)) for key, n in sorted(self._terminations.items())]
        yield from family(
            "counter",
            "apiserver_request_terminations_total",
            "[ALPHA] Number of requests which apiserver terminated in self-defense.",
            ("code", *_LABELS[:-1]),
            ended,
        )

    def _access(self) -> Iterator[str]:
        users = [((name,), float(n)) for name, n in sorted(self.authenticated.items())]
        yield from family(
            "counter",
            "authenticated_user_requests",
            "[ALPHA] Counter of authenticated requests broken out by username.",
            ("username",),
            users,
        )
        attempts = {"success": sum(self.authenticated.values()), "failure": self.unauthenticated}
        yield from family(
            "counter",
            "authentication_attempts",
            "[ALPHA] Counter of authenticated attempts.",
            ("result",),
            _present(attempts),
        )
        yield from family(
            "counter",
            "authorization_attempts_total",
            "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', "
            "'no-opinion' or 'error'.",
            ("result",),
            _present({"allowed": self.allowed, "denied": self.denied}),
        )


def _line(line: str) -> str:
    return line


def _present(values: dict[str, int]) -> list[Sample]:
    return [((key,), float(n)) for key, n in values.items() if n]


def _labels(info: RequestInfo, dry_run: str) -> tuple[str, ...]:
    """verb, group, version, resource, subresource, scope, component, dry_run."""
    verb = _VERBS.get(info.verb) or info.verb.upper()
    if not info.resource:
        path = info.path if info.path in _PATHS else f"/{info.path.split('/', 2)[1]}" if "/" in info.path else ""
        return (verb, "", "", "", path if path in _PATHS else "/other", "", "", "")
    scope = "resource" if info.name or info.verb == "create" else "namespace" if info.namespace else "cluster"
    return (verb, info.group, info.version, info.resource, info.subresource, scope, "apiserver", dry_run)


def _histogram(bounds: Sequence[float], counts: Sequence[int], total: float) -> Histogram:
    found = Histogram(bounds)
    found.counts, found.total = list(counts), total
    return found


def _slis(rows: Sequence[tuple[tuple[str, ...], _Row]]) -> list[tuple[Sequence[str], Histogram]]:
    """The durations without what the label `dry_run` tells apart, by upstream's coarser buckets."""
    merged: dict[tuple[str, ...], Histogram] = {}
    for key, row in rows:
        found = merged.setdefault(key[:-1], Histogram(_SECONDS[2:]))
        found.total += row.total
        found.counts[0] += sum(row.seconds[:3])
        for index, number in enumerate(row.seconds[3:], 1):
            found.counts[index] += number
    return list(merged.items())


class Admission(Protocol):
    """What is measured: `kumo.kubernetes.apiserver.core.Admission`."""

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        """See there."""
        ...

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """See there."""
        ...

    def abandon(self, attrs: AdmissionAttributes) -> None:
        """See there."""
        ...


class MeasuredAdmission:
    """Admission, and how long its two steps take: `apiserver_admission_step_admission_duration_seconds`."""

    def __init__(self, chain: Admission, metrics: Metrics) -> None:
        self._chain = chain
        self._steps: dict[tuple[str, str, str], Histogram] = {}
        self.abandon = chain.abandon
        metrics.add(self._lines)

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        """The mutating step. Raises StatusError."""
        began = perf_counter()
        try:
            await self._chain.mutate(attrs)
        except StatusError:
            self._observe(attrs.operation, "true", "admit", began)
            raise
        self._observe(attrs.operation, "false", "admit", began)

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """The validating step. Raises StatusError."""
        began = perf_counter()
        try:
            await self._chain.validate(attrs)
        except StatusError:
            self._observe(attrs.operation, "true", "validate", began)
            raise
        self._observe(attrs.operation, "false", "validate", began)

    def _observe(self, operation: str, rejected: str, kind: str, began: float) -> None:
        key = (operation, rejected, kind)
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = Histogram(_STEP_SECONDS)
        found.observe(perf_counter() - began)

    def _lines(self) -> list[str]:
        return histograms(
            "apiserver_admission_step_admission_duration_seconds",
            "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource "
            "and step type (validate or admit).",
            ("operation", "rejected", "type"),
            sorted(self._steps.items()),
        )


class Ending:
    """A streamed body that tells when it is over, however it ends: read out, given up, or never begun."""

    __slots__ = ("_body", "_next", "_over")

    def __init__(self, body: AsyncIterator[bytes], over: Callable[[], None]) -> None:
        self._body = body
        self._next = body.__anext__
        self._over: Callable[[], None] | None = over

    def __aiter__(self) -> Ending:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except BaseException:
            self._end()
            raise

    async def feed(self, sink: Sink) -> None:
        """Write the body to the sink."""
        feed = getattr(self._body, "feed", None)
        try:
            if feed is not None:
                await feed(sink)
                return
            async for chunk in self._body:
                sink.write(chunk)
                if sink.blocked:
                    await sink.drained()
        finally:
            self._end()

    async def aclose(self) -> None:
        """Let the body run its clean-up."""
        close = getattr(self._body, "aclose", None)
        try:
            if close is not None:
                await close()
        finally:
            self._end()

    def _end(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()

    def __del__(self) -> None:
        self._end()


_TOTAL_HELP = (
    "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, "
    "component, and HTTP response code."
)
_DURATION_HELP = (
    "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, "
    "subresource, scope and component."
)
_SLI_HELP = (
    "[ALPHA] Response latency distribution in seconds for each verb, group, version, resource, subresource, scope and "
    "component."
)
_SIZES_HELP = (
    "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and "
    "component."
)
