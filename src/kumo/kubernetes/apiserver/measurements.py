"""What /metrics shows besides requests: objects, watches, priority and fairness, the process."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from kumo.kubernetes.apiserver.cache import Cache
from kumo.kubernetes.apiserver.flowcontrol.flows import BUCKETS, Flow, Level
from kumo.kubernetes.apiserver.flowcontrol.gate import Gate
from kumo.machinery.exposition import Histogram, Sample, counts, family, histograms

_FLOW = ("priority_level", "flow_schema")


def objects(cache: Cache) -> list[str]:
    """Stored objects and open watches by resource."""
    found = sorted(cache, key=lambda r: (r.group, r.resource))
    stored: list[Sample] = [((r.group, r.resource), float(len(r))) for r in found]
    named: list[Sample] = [((f"{r.resource}.{r.group}" if r.group else r.resource,), float(len(r))) for r in found]
    watched: list[Sample] = [
        (("WATCH", r.group, "", r.resource, "", "cluster", "apiserver"), float(len(r.hub))) for r in found if len(r.hub)
    ]
    sent: list[Sample] = [((r.group, "", r.resource), float(r.hub.sent)) for r in found if r.hub.sent]
    return [
        *family(
            "gauge",
            "apiserver_resource_objects",
            "[ALPHA] Number of stored objects at the time of last check split by kind.",
            ("group", "resource"),
            stored,
        ),
        *family(
            "gauge",
            "apiserver_storage_objects",
            "[STABLE] (Deprecated since 1.34.0) Number of stored objects at the time of last check split by kind.",
            ("resource",),
            named,
        ),
        *family(
            "gauge",
            "apiserver_longrunning_requests",
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, "
            "resource, scope and component. Not all requests are tracked this way.",
            ("verb", "group", "version", "resource", "subresource", "scope", "component"),
            watched,
        ),
        *family(
            "counter",
            "apiserver_watch_events_total",
            "[ALPHA] Number of events sent in watch clients",
            ("group", "version", "resource"),
            sent,
        ),
        *family(
            "gauge",
            "apiserver_watch_cache_resource_version",
            "[ALPHA] Current resource version of watch cache broken by resource type.",
            ("group", "resource"),
            [((r.group, r.resource), float(r.revision)) for r in found],
        ),
    ]


def inflight(reading: int, writing: int, waiting: int) -> list[str]:
    """The requests in progress by kind, and those that wait."""
    kinds: dict[str, float] = {"mutating": writing, "readOnly": reading}
    return [
        *family(
            "gauge",
            "apiserver_current_inflight_requests",
            "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in "
            "last second.",
            ("request_kind",),
            counts(kinds),
        ),
        *family(
            "gauge",
            "apiserver_current_inqueue_requests",
            "[ALPHA] Maximal number of queued requests in this apiserver per request kind in last second.",
            ("request_kind",),
            counts({"readOnly": waiting}),
        ),
    ]


def flowcontrol(gate: Gate) -> list[str]:
    """`apiserver_flowcontrol_*`."""
    waiting = sum(level.waiting for level in gate.levels.values())
    return [
        *inflight(gate.reading, gate.writing, waiting),
        *_levels(sorted(gate.levels.values(), key=lambda level: level.name)),
        *_flows(sorted(gate.flows.values(), key=lambda flow: (flow.level.name, flow.name))),
    ]


def _levels(levels: Iterable[Level]) -> Iterator[str]:
    known = list(levels)
    gauges: dict[str, tuple[str, list[float]]] = {
        "nominal_limit_seats": (
            "[BETA] Nominal number of execution seats configured for each priority level",
            [float(level.bounds.nominal) for level in known],
        ),
        "lower_limit_seats": (
            "[ALPHA] Configured lower bound on number of execution seats available to each priority level",
            [float(level.bounds.lower) for level in known],
        ),
        "upper_limit_seats": (
            "[ALPHA] Configured upper bound on number of execution seats available to each priority level",
            [float(level.bounds.upper) for level in known],
        ),
        "current_limit_seats": (
            "[ALPHA] current derived number of execution seats available to each priority level",
            [float(level.limit) for level in known],
        ),
        "demand_seats_high_watermark": (
            "[ALPHA] High watermark, over last adjustment period, of demand_seats",
            [float(level.last_high) for level in known],
        ),
        "demand_seats_average": (
            "[ALPHA] Time-weighted average, over last adjustment period, of demand_seats",
            [level.average for level in known],
        ),
        "demand_seats_stdev": (
            "[ALPHA] Time-weighted standard deviation, over last adjustment period, of demand_seats",
            [level.deviation for level in known],
        ),
        "demand_seats_smoothed": ("[ALPHA] Smoothed seat demands", [level.smoothed for level in known]),
        "target_seats": ("[ALPHA] Seat allocation targets", [level.target for level in known]),
    }
    for name, (text, values) in gauges.items():
        samples: list[Sample] = [((level.name,), v) for level, v in zip(known, values, strict=True)]
        yield from family("gauge", f"apiserver_flowcontrol_{name}", text, ("priority_level",), samples)


def _flows(flows: Iterable[Flow]) -> Iterator[str]:
    known = list(flows)
    labels = [(flow.level.name, flow.name) for flow in known]
    for name, kind, text, values in (
        (
            "current_executing_requests",
            "gauge",
            "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API "
            "Priority and Fairness subsystem",
            [flow.executing for flow in known],
        ),
        (
            "current_executing_seats",
            "gauge",
            "[BETA] Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any "
            "stage otherwise) requests in the API Priority and Fairness subsystem",
            [flow.seats for flow in known],
        ),
        (
            "current_inqueue_requests",
            "gauge",
            "[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem",
            [flow.waiting for flow in known],
        ),
        (
            "current_inqueue_seats",
            "gauge",
            "[ALPHA] Number of seats currently pending in queues of the API Priority and Fairness subsystem",
            [flow.waiting_seats for flow in known],
        ),
        (
            "dispatched_requests_total",
            "counter",
            "[BETA] Number of requests executed by API Priority and Fairness subsystem",
            [flow.dispatched for flow in known],
        ),
    ):
        samples: list[Sample] = [(label, float(v)) for label, v in zip(labels, values, strict=True)]
        yield from family(kind, f"apiserver_flowcontrol_{name}", text, _FLOW, samples)
    rejected: list[Sample] = [
        ((flow.level.name, flow.name, why), float(n)) for flow in known for why, n in sorted(flow.rejected.items())
    ]
    yield from family(
        "counter",
        "apiserver_flowcontrol_rejected_requests_total",
        "[BETA] Number of requests rejected by API Priority and Fairness subsystem",
        (*_FLOW, "reason"),
        rejected,
    )
    waits = [
        ((flow.level.name, flow.name, "true" if served else "false"), _waits(flow, served))
        for flow in known
        for served in (True, False)
        if served in flow.waited or (served and flow.dispatched)
    ]
    yield from histograms(
        "apiserver_flowcontrol_request_wait_duration_seconds",
        "[BETA] Length of time a request spent waiting in its queue",
        (*_FLOW, "execute"),
        waits,
    )
    runs = [
        ((flow.level.name, flow.name, "regular"), _as_histogram(flow.executed, flow.executed_seconds))
        for flow in known
        if flow.dispatched
    ]
    yield from histograms(
        "apiserver_flowcontrol_request_execution_seconds",
        "[ALPHA] Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the "
        "API Priority and Fairness subsystem",
        (*_FLOW, "type"),
        runs,
    )


def _waits(flow: Flow, served: bool) -> Histogram:
    """How long requests waited; those that were let in at once are counted as such."""
    numbers = list(flow.waited.get(served, [0] * (len(BUCKETS) + 1)))
    if served:
        numbers[0] += max(0, flow.dispatched - sum(numbers))
    return _as_histogram(numbers, flow.waited_seconds.get(served, 0.0))


def _as_histogram(numbers: list[int], total: float) -> Histogram:
    found = Histogram(BUCKETS)
    found.counts, found.total = numbers, total
    return found


def process() -> list[str]:
    """`process_*`, from /proc."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    values = (
        ("counter", "cpu_seconds_total", "Total user and system CPU time spent in seconds.", _cpu(stat, ticks)),
        ("gauge", "max_fds", "Maximum number of open file descriptors.", _soft(resource.RLIMIT_NOFILE)),
        (
            "gauge",
            "open_fds",
            "Number of open file descriptors.",
            float(sum(1 for _ in Path("/proc/self/fd").iterdir())),
        ),
        ("gauge", "resident_memory_bytes", "Resident memory size in bytes.", float(stat[21]) * page),
        (
            "gauge",
            "start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            round(time.time() - uptime + float(stat[19]) / ticks, 2),
        ),
        ("gauge", "virtual_memory_bytes", "Virtual memory size in bytes.", float(stat[20])),
        (
            "gauge",
            "virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            _soft(resource.RLIMIT_AS),
        ),
    )
    return [line for kind, name, text, v in values for line in family(kind, f"process_{name}", text, (), [((), v)])]


def _cpu(stat: list[str], ticks: int) -> float:
    return (float(stat[11]) + float(stat[12])) / ticks


def _soft(limit: int) -> float:
    found = resource.getrlimit(limit)[0]
    return 1.8446744073709552e19 if found == resource.RLIM_INFINITY else float(found)


def build(version: dict[str, str]) -> list[str]:
    """`kubernetes_build_info`; `version` is what /version answers."""
    labels = (
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    )
    text = "[BETA] A metric with a constant '1' value that says which build of which version this is."
    info: list[Sample] = [(tuple(version[key] for _, key in labels), 1.0)]
    python: list[Sample] = [((platform.python_implementation(), platform.python_version()), 1.0)]
    return [
        *family("gauge", "kubernetes_build_info", text, [label for label, _ in labels], info),
        *family("gauge", "python_info", "Python platform information", ("implementation", "version"), python),
    ]
