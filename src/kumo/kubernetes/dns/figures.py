"""What the cluster DNS has counted, under CoreDNS's names (`coredns_*`), in Prometheus' text format; and its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from dnslib import QTYPE, RCODE, DNSRecord

from kumo.machinery.exposition import CONTENT_TYPE, family
from kumo.machinery.http import Answer, Request, Response

_SERVER, _COMMON = "dns://:53", ("server", "zone", "view", "proto", "family")
_TYPES = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "ANY", "HTTPS", "SVCB", "NAPTR")
_COUNTED = frozenset(getattr(QTYPE, name) for name in _TYPES)
"""Types that are counted apart; of the others there are as many as clients make up."""
_TEXT = "text/plain; charset=utf-8"


class Figures:
    """Counts of questions and answers. `udp` says by which protocol a question came.

    `cache` gives how often the cache for names upstream had an answer, and how often not.
    """

    def __init__(self, cache: Callable[[], tuple[int, int]] = lambda: (0, 0)) -> None:
        self._cache = cache
        self.requests: Counter[tuple[bool, int]] = Counter()
        self.responses: Counter[tuple[bool, int]] = Counter()
        self.turned_away = 0
        """Questions that were too many to wait at once."""

    def asked(self, query: DNSRecord, *, udp: bool) -> None:
        """A question has come."""
        kind = query.questions[0].qtype if query.questions else 0
        self.requests[udp, kind if kind in _COUNTED else 0] += 1

    def answered(self, reply: DNSRecord, *, udp: bool) -> None:
        """It is answered."""
        self.responses[udp, reply.header.rcode] += 1

    def text(self) -> str:
        """The page."""
        types: Counter[tuple[str, ...]] = Counter()
        for (udp, kind), count in self.requests.items():
            types[_labels(udp, str(QTYPE.get(kind)) if kind else "other")] += count
        codes = {_labels(udp, str(RCODE.get(code))): n for (udp, code), n in self.responses.items()}
        rejected: dict[tuple[str, ...], int] = {(): self.turned_away}
        cache, (hits, misses) = ("server", "type", "zones", "view"), self._cache()
        lines = [
            *_counter("dns_requests_total", "Counter of DNS requests", (*_COMMON, "type"), types),
            *_counter("dns_responses_total", "Counter of response status codes", (*_COMMON, "rcode"), codes),
            *_counter("cache_hits_total", "The count of cache hits", cache, {(_SERVER, "success", ".", ""): hits}),
            *_counter("cache_misses_total", "The count of cache misses", (), {(): misses}),
            *_counter("forward_max_concurrent_rejects_total", "Counter of rejected queries", (), rejected),
        ]
        return "\n".join(lines) + "\n"


def _labels(udp: bool, last: str) -> tuple[str, ...]:
    return (_SERVER, ".", "", "udp" if udp else "tcp", "1", last)


def _counter(name: str, text: str, labels: tuple[str, ...], values: dict[tuple[str, ...], int]) -> list[str]:
    return family("counter", f"coredns_{name}", text, labels, sorted(values.items()))


class Page:
    """`/metrics`, and `/health` and `/ready` as CoreDNS has them."""

    def __init__(self, figures: Figures, ready: Callable[[], bool]) -> None:
        self._figures = figures
        self._ready = ready

    async def handle(self, request: Request) -> Answer:
        """Answer a request."""
        match request.path:
            case "/metrics":
                return Response(200, self._figures.text().encode(), CONTENT_TYPE)
            case "/health":
                return Response(200, b"OK", _TEXT)
            case "/ready":
                return Response(200, b"OK", _TEXT) if self._ready() else Response(503, b"kubernetes", _TEXT)
        return Response(404, b"404 page not found\n", _TEXT)
