"""`GET /metrics/resource`: the few numbers that autoscaling and `kubectl top` live on.

Names, labels and stability are upstream's (`pkg/kubelet/metrics/collectors/resource_metrics.go`). Pure.
"""

from __future__ import annotations

from kumo.api.objects import name_of, namespace_of
from kumo.kubernetes.kubelet.stats.usage import NodeUse
from kumo.machinery.exposition import Sample, family

_SECOND = 1e9
_CONTAINER, _POD = ("container", "pod", "namespace"), ("pod", "namespace")


def resource_metrics(use: NodeUse) -> str:
    """The text for what the node uses."""
    started: list[Sample] = []
    cpu: list[Sample] = []
    memory: list[Sample] = []
    pod_cpu: list[Sample] = []
    pod_memory: list[Sample] = []
    for pod in use.pods:
        whose = (name_of(pod.pod), namespace_of(pod.pod))
        for container in pod.containers:
            labels = (container.state.name, *whose)
            if container.state.started_at > 0:
                started.append((labels, container.state.started_at))
            if container.cpu is not None:
                cpu.append((labels, container.cpu / _SECOND))
            if container.working_set is not None:
                memory.append((labels, container.working_set))
        if pod.cpu is not None:
            pod_cpu.append((whose, pod.cpu / _SECOND))
        if pod.working_set is not None:
            pod_memory.append((whose, pod.working_set))
    failed = 1.0 if use.cpu is None or use.working_set is None else 0.0
    node_cpu: list[Sample] = [((), use.cpu / _SECOND)] if use.cpu is not None else []
    node_memory: list[Sample] = [((), use.working_set)] if use.working_set is not None else []
    stable, at = "[STABLE] ", use.at
    wrong = "1 if there was an error while getting container metrics, 0 otherwise"
    lines = [
        *_counter(
            "container_cpu_usage_seconds_total",
            stable + "Cumulative cpu time consumed by the container in core-seconds",
            _CONTAINER,
            cpu,
            at,
        ),
        *_gauge(
            "container_memory_working_set_bytes",
            stable + "Current working set of the container in bytes",
            _CONTAINER,
            memory,
            at,
        ),
        *family(
            "gauge",
            "container_start_time_seconds",
            stable + "Start time of the container since unix epoch in seconds",
            _CONTAINER,
            started,
        ),
        *_counter(
            "node_cpu_usage_seconds_total",
            stable + "Cumulative cpu time consumed by the node in core-seconds",
            (),
            node_cpu,
            at,
        ),
        *_gauge(
            "node_memory_working_set_bytes", stable + "Current working set of the node in bytes", (), node_memory, at
        ),
        *_counter(
            "pod_cpu_usage_seconds_total",
            stable + "Cumulative cpu time consumed by the pod in core-seconds",
            _POD,
            pod_cpu,
            at,
        ),
        *_gauge(
            "pod_memory_working_set_bytes", stable + "Current working set of the pod in bytes", _POD, pod_memory, at
        ),
        *family("gauge", "resource_scrape_error", stable + wrong, (), [((), failed)]),
        *family("gauge", "scrape_error", f"[ALPHA] (Deprecated since 1.29.0) {wrong}", (), [((), failed)]),
    ]
    return "\n".join(lines) + "\n"


def _counter(name: str, text: str, labels: tuple[str, ...], samples: list[Sample], at: float) -> list[str]:
    return family("counter", name, text, labels, samples, at=at)


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: list[Sample], at: float) -> list[str]:
    return family("gauge", name, text, labels, samples, at=at)
