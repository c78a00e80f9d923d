"""What the API server counts of itself, in Prometheus' text format at `/metrics`; names as upstream's."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.cache import Cache
from kumo.machinery.http import Response

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 5.0, 10.0, 30.0, 60.0)


class _CacheCollector(Collector):
    """Reads the numbers of objects and watches when they are asked for."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The two gauges."""
        objects = GaugeMetricFamily(
            "apiserver_storage_objects", "Number of stored objects by resource.", labels=["resource"]
        )
        watches = GaugeMetricFamily(
            "apiserver_longrunning_requests", "Number of watches now open.", labels=["verb", "group", "resource"]
        )
        for found in self._cache:
            name = f"{found.resource}.{found.group}" if found.group else found.resource
            objects.add_metric([name], len(found))
            watches.add_metric(["WATCH", found.group, found.resource], len(found.hub))
        yield objects
        yield watches


class Metrics:
    """The counters of one API server. Counting costs about a microsecond: children are kept by their labels."""

    def __init__(self, cache: Cache) -> None:
        self.registry = CollectorRegistry()
        labels = ["verb", "group", "version", "resource", "subresource", "scope"]
        self._requests = Counter(
            "apiserver_request",
            "Counter of apiserver requests broken out for each verb, group, version, resource, scope, and code.",
            [*labels, "code"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, group, version, resource, subresource, scope.",
            labels,
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_CacheCollector(cache))
        ProcessCollector(registry=self.registry)
        self._children: dict[tuple[str, ...], tuple[dict[int, Counter], Histogram]] = {}

    def count(self, info: RequestInfo, code: int, seconds: float) -> None:
        """Count an answered request."""
        scope = "resource" if info.name else "namespace" if info.namespace else "cluster" if info.resource else ""
        if info.resource:
            key = (info.verb.upper(), info.group, info.version, info.resource, info.subresource, scope)
        else:
            key = (info.verb.upper(), "", "", "", "", "")
        children = self._children.get(key)
        if children is None:
            if len(self._children) > 5000:
                return  # Paths that nobody serves must not fill the memory.
            children = self._children[key] = ({}, self._durations.labels(*key))
        counter = children[0].get(code)
        if counter is None:
            counter = children[0][code] = self._requests.labels(*key, str(code))
        counter.inc()
        if info.verb != "watch":
            children[1].observe(seconds)

    def response(self) -> Response:
        """The answer of /metrics."""
        return Response(200, generate_latest(self.registry), CONTENT_TYPE_LATEST)
