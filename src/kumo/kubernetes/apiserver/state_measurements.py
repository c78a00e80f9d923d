"""What /metrics reads from what is there when it is asked: the cache, APIServices, work queues, the network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from time import monotonic

from kumo.api.conditions import condition
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.cache import Cache
from kumo.machinery.exposition import Histogram, Sample, family, histograms
from kumo.machinery.workqueue import BOUNDS, WorkQueue

_APISERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices")
_RESOURCE = ("group", "resource")


def collections(cache: Cache) -> list[str]:
    """Lists answered from the cache, and the events that it took in and passed on, by resource."""
    found = sorted(cache, key=lambda r: (r.group, r.resource))
    listed = [r for r in found if r.lists]
    changed = [r for r in found if r.hub.published]
    lists: list[Sample] = [((r.group, r.resource, ""), float(r.lists)) for r in listed]
    returned: list[Sample] = [((r.group, r.resource), float(r.listed)) for r in listed]
    events: list[Sample] = [((r.group, r.resource), float(r.hub.published)) for r in changed]
    begun: list[Sample] = [((r.group, r.resource), 1.0) for r in found]
    return [
        *_counter("apiserver_cache_list_total", "LIST requests answered from the cache", lists, (*_RESOURCE, "index")),
        *_counter("apiserver_cache_list_returned_objects_total", "Objects returned by those LIST requests", returned),
        *_counter("apiserver_storage_events_received_total", "Events received from the store", events),
        *_counter("apiserver_watch_cache_events_received_total", "Events received in the watch cache", events),
        *_counter("apiserver_watch_cache_events_dispatched_total", "Events dispatched in the watch cache", events),
        *_counter("apiserver_watch_cache_initializations_total", "Initializations of the watch cache", begun),
    ]


def _counter(name: str, text: str, samples: list[Sample], labels: tuple[str, ...] = _RESOURCE) -> list[str]:
    return family("counter", name, f"[ALPHA] {text}, broken out by resource.", labels, samples)


def availability(reader: Reader) -> list[str]:
    """The APIServices that are not available."""
    samples: list[Sample] = []
    for service in reader.objects(_APISERVICES):
        found = condition(service, "Available") or {}
        samples.append(((service["metadata"]["name"],), float(found.get("status") == "False")))
    text = "[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name."
    return family("gauge", "aggregator_unavailable_apiservice", text, ("name",), samples)


def unaudited() -> list[str]:
    """`apiserver_audit_*` of a server that does not audit."""
    nothing: list[Sample] = [((), 0.0)]
    return [
        *family("counter", "apiserver_audit_event_total", "[ALPHA] Audit events generated and sent.", (), nothing),
        *family(
            "counter",
            "apiserver_audit_requests_rejected_total",
            "[ALPHA] Requests rejected by audit.",
            (),
            nothing,
        ),
    ]


def network() -> list[str]:
    """`process_network_*`, of the process's network namespace, from /proc."""
    try:
        lines = Path("/proc/self/net/netstat").read_text().splitlines()
    except OSError:
        return []
    named = next((line.split() for line in lines if line.startswith("IpExt: In")), [])
    counted = next((line.split() for line in lines if line.startswith("IpExt: ") and line.split()[1].isdigit()), [])
    values = dict(zip(named, counted, strict=False))
    return [
        line
        for name, field, what in (("receive", "InOctets", "received"), ("transmit", "OutOctets", "sent"))
        if field in values
        for line in family(
            "counter",
            f"process_network_{name}_bytes_total",
            f"Number of bytes {what} by the process over the network.",
            (),
            [((), float(values[field]))],
        )
    ]


def queues(named: Iterable[tuple[str, WorkQueue[object]]]) -> list[str]:
    """`workqueue_*` of the controllers."""
    found = sorted(named, key=lambda pair: pair[0])
    now = monotonic()
    gauges = (
        ("counter", "adds_total", "Total number of adds handled by workqueue", lambda q: q.adds),
        ("counter", "retries_total", "Total number of retries handled by workqueue", lambda q: q.retries),
        ("gauge", "depth", "Current depth of workqueue", len),
        (
            "gauge",
            "unfinished_work_seconds",
            "How many seconds of work has been done that is in progress and has not been observed by work_duration",
            lambda q: sum(now - began for began in q.working.values()),
        ),
        (
            "gauge",
            "longest_running_processor_seconds",
            "How many seconds the longest running processor of the workqueue has been running",
            lambda q: max((now - began for began in q.working.values()), default=0.0),
        ),
    )
    lines: list[str] = []
    for kind, name, text, value in gauges:
        samples: list[Sample] = [((label,), float(value(queue))) for label, queue in found]
        lines += family(kind, f"workqueue_{name}", f"[BETA] {text}", ("name",), samples)
    text = "[BETA] How long in seconds an item stays in workqueue before being requested"
    waits = [((label,), _histogram(*queue.waits)) for label, queue in found]
    lines += histograms("workqueue_queue_duration_seconds", text, ("name",), waits)
    text = "[BETA] How long in seconds processing an item from workqueue takes"
    works = [((label,), _histogram(*queue.works)) for label, queue in found]
    return lines + histograms("workqueue_work_duration_seconds", text, ("name",), works)


def _histogram(counts: list[int], total: float) -> Histogram:
    found = Histogram(BOUNDS)
    found.counts, found.total = list(counts), total
    return found
