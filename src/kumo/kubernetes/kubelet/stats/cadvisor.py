"""`GET /metrics/cadvisor`: control groups in detail, by the names that dashboards know (cAdvisor's). Reading blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kumo.api.kubernetes_version import GIT_VERSION
from kumo.api.objects import name_of, namespace_of
from kumo.host.cgroup_usage import CgroupReader
from kumo.kubernetes.kubelet.machine import Machine
from kumo.kubernetes.kubelet.spec import host_network
from kumo.kubernetes.kubelet.stats import network
from kumo.kubernetes.kubelet.stats.usage import NodeUse, PodUse
from kumo.machinery.exposition import Sample, family

_SECOND = 1e9
_GROUP = ("container", "id", "image", "name", "namespace", "pod")
_FAILURES = (*_GROUP, "failure_type", "scope")
_DISK = ("container", "device", "id", "image", "name", "namespace", "pod")
_NETWORK = ("id", "image", "interface", "name", "namespace", "pod")
_G, _C = "gauge", "counter"
_FAMILIES = {
    "container_cpu_cfs_periods_total": (_C, "Number of elapsed enforcement period intervals."),
    "container_cpu_cfs_throttled_periods_total": (_C, "Number of throttled period intervals."),
    "container_cpu_cfs_throttled_seconds_total": (_C, "Total time duration the container has been throttled."),
    "container_cpu_system_seconds_total": (_C, "Cumulative system cpu time consumed in seconds."),
    "container_cpu_usage_seconds_total": (_C, "Cumulative cpu time consumed in seconds."),
    "container_cpu_user_seconds_total": (_C, "Cumulative user cpu time consumed in seconds."),
    "container_fs_reads_bytes_total": (_C, "Cumulative count of bytes read"),
    "container_fs_reads_total": (_C, "Cumulative count of reads completed"),
    "container_fs_writes_bytes_total": (_C, "Cumulative count of bytes written"),
    "container_fs_writes_total": (_C, "Cumulative count of writes completed"),
    "container_last_seen": (_G, "Last time a container was seen by the exporter"),
    "container_memory_cache": (_G, "Number of bytes of page cache memory."),
    "container_memory_failcnt": (_C, "Number of memory usage hits limits"),
    "container_memory_failures_total": (_C, "Cumulative count of memory allocation failures."),
    "container_memory_mapped_file": (_G, "Size of memory mapped files in bytes."),
    "container_memory_max_usage_bytes": (_G, "Maximum memory usage recorded in bytes"),
    "container_memory_rss": (_G, "Size of RSS in bytes."),
    "container_memory_swap": (_G, "Container swap usage in bytes."),
    "container_memory_usage_bytes": (
        _G,
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
    ),
    "container_memory_working_set_bytes": (_G, "Current working set in bytes."),
    "container_network_receive_bytes_total": (_C, "Cumulative count of bytes received"),
    "container_network_receive_errors_total": (_C, "Cumulative count of errors encountered while receiving"),
    "container_network_receive_packets_dropped_total": (
        _C,
        "Cumulative count of packets dropped while receiving",
    ),
    "container_network_receive_packets_total": (_C, "Cumulative count of packets received"),
    "container_network_transmit_bytes_total": (_C, "Cumulative count of bytes transmitted"),
    "container_network_transmit_errors_total": (_C, "Cumulative count of errors encountered while transmitting"),
    "container_network_transmit_packets_dropped_total": (
        _C,
        "Cumulative count of packets dropped while transmitting",
    ),
    "container_network_transmit_packets_total": (_C, "Cumulative count of packets transmitted"),
    "container_oom_events_total": (_C, "Count of out of memory events observed for the container"),
    "container_processes": (_G, "Number of processes running inside the container."),
    "container_spec_memory_limit_bytes": (_G, "Memory limit for the container."),
    "container_start_time_seconds": (_G, "Start time of the container since unix epoch in seconds."),
    "container_threads": (_G, "Number of threads running inside the container"),
    "container_threads_max": (
        _G,
        "Maximum number of threads allowed inside the container, infinity if value is zero",
    ),
}
"""Name -> kind and text of what is told of a group."""


@dataclass(slots=True)
class _Page:
    """Samples by family."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def put(self, name: str, labels: tuple[str, ...], value: float | None) -> None:
        """Add a sample, unless its value is not known."""
        if value is not None:
            self.samples.setdefault(name, []).append((labels, value))


def cadvisor_metrics(use: NodeUse, cgroups: CgroupReader, machine: Machine) -> str:
    """The text for the machine, the node's pods and their containers."""
    page = _Page()
    _group(page, cgroups, "/", ("", "/", "", "", "", ""), use.at)
    for pod in use.pods:
        whose = (namespace_of(pod.pod), name_of(pod.pod))
        _group(page, cgroups, pod.group, ("", pod.group, "", "", *whose), use.at)
        if pod.sandbox:
            box = ("POD", pod.sandbox, "", pod.sandbox.rpartition("/")[2], *whose)
            _group(page, cgroups, pod.sandbox, box, use.at)
            _network_of(page, cgroups, pod)
        for container in pod.containers:
            state = container.state
            labels = (state.name, container.group, state.image, state.id, *whose)
            _group(page, cgroups, container.group, labels, use.at)
            page.put("container_start_time_seconds", labels, state.started_at or None)
    return "\n".join([*_lines(page, use.at), *_machine(machine)]) + "\n"


def _group(page: _Page, cgroups: CgroupReader, group: str, labels: tuple[str, ...], at: float) -> None:
    cpu = cgroups.cpu(group)
    if cpu is not None:
        page.put("container_cpu_usage_seconds_total", (*labels, "total"), cpu.total / _SECOND)
        for name, value in (("user", cpu.user), ("system", cpu.system)):
            page.put(f"container_cpu_{name}_seconds_total", labels, None if value is None else value / _SECOND)
        if cpu.periods:
            page.put("container_cpu_cfs_periods_total", labels, cpu.periods)
            page.put("container_cpu_cfs_throttled_periods_total", labels, cpu.throttled_periods)
            page.put("container_cpu_cfs_throttled_seconds_total", labels, (cpu.throttled or 0) / _SECOND)
    memory = cgroups.memory(group)
    if memory is not None:
        page.put("container_memory_usage_bytes", labels, memory.usage)
        page.put("container_memory_working_set_bytes", labels, memory.working_set)
        page.put("container_memory_rss", labels, memory.rss)
        page.put("container_memory_cache", labels, memory.cache)
        page.put("container_memory_swap", labels, memory.swap)
        page.put("container_memory_mapped_file", labels, memory.mapped)
        page.put("container_memory_max_usage_bytes", labels, memory.peak)
        page.put("container_memory_failcnt", labels, memory.failures)
        page.put("container_memory_failures_total", (*labels, "pgfault", "hierarchy"), memory.faults)
        page.put("container_memory_failures_total", (*labels, "pgmajfault", "hierarchy"), memory.major_faults)
        page.put("container_spec_memory_limit_bytes", labels, memory.limit or 0)
    container, *rest = labels
    for disk in cgroups.traffic(group):
        where = (container, disk.device, *rest)
        page.put("container_fs_reads_bytes_total", where, disk.read_bytes)
        page.put("container_fs_reads_total", where, disk.reads)
        page.put("container_fs_writes_bytes_total", where, disk.written_bytes)
        page.put("container_fs_writes_total", where, disk.writes)
    page.put("container_oom_events_total", labels, cgroups.oom_kills(group))
    page.put("container_processes", labels, len(cgroups.processes(group)))
    threads, most = cgroups.threads(group)
    page.put("container_threads", labels, threads)
    if threads is not None:
        page.put("container_threads_max", labels, most or 0)
    page.put("container_last_seen", labels, int(at))


def _network_of(page: _Page, cgroups: CgroupReader, pod: PodUse) -> None:
    if host_network(pod.pod):
        return
    pids = cgroups.processes(pod.sandbox)
    for interface in network.interfaces(pids[0]) if pids else ():
        name = pod.sandbox.rpartition("/")[2]
        labels = (pod.sandbox, "", interface.name, name, namespace_of(pod.pod), name_of(pod.pod))
        for way, numbers in (
            ("receive", (interface.rx_bytes, interface.rx_packets, interface.rx_errors, interface.rx_dropped)),
            ("transmit", (interface.tx_bytes, interface.tx_packets, interface.tx_errors, interface.tx_dropped)),
        ):
            for what, number in zip(("bytes", "packets", "errors", "packets_dropped"), numbers, strict=True):
                page.put(f"container_network_{way}_{what}_total", labels, number)


def _lines(page: _Page, at: float) -> Iterator[str]:
    for name, (kind, text) in _FAMILIES.items():
        labels: tuple[str, ...] = _GROUP
        if name.startswith("container_network"):
            labels = _NETWORK
        elif name.startswith("container_fs"):
            labels = _DISK
        elif name == "container_memory_failures_total":
            labels = _FAILURES
        elif name == "container_cpu_usage_seconds_total":
            labels = (*_GROUP, "cpu")
        yield from family(kind, name, text, labels, page.samples.get(name, ()), at=at)


def _machine(machine: Machine) -> Iterator[str]:
    version = ("cadvisorRevision", "cadvisorVersion", "dockerVersion", "kernelVersion", "osVersion")
    text = "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version"
    values = ("", GIT_VERSION, "", machine.kernel, machine.os_image)
    yield from family(_G, "cadvisor_version_info", f"{text} & cadvisor revision.", version, [(values, 1)])
    scrape = "1 if there was an error while getting container metrics, 0 otherwise"
    yield from family(_G, "container_scrape_error", scrape, (), [((), 0)])
    labels = ("boot_id", "machine_id", "system_uuid")
    where = (machine.boot_id, machine.machine_id, machine.system_uuid)
    yield from family(_G, "machine_cpu_cores", "Number of logical CPU cores.", labels, [(where, machine.cpus)])
    memory = "Amount of memory installed on the machine."
    yield from family(_G, "machine_memory_bytes", memory, labels, [(where, machine.memory)])
