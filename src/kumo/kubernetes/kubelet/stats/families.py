"""The families of the kubelet's own figures, as upstream names them (`pkg/kubelet/metrics/metrics.go`). Pure data."""

from __future__ import annotations

from collections.abc import Mapping

from kumo.kubernetes.kubelet.stats.meter import COUNTER, GAUGE, HISTOGRAM, Family

_START_BOUNDS = (0.5, *map(float, (1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600)))
_START_BOUNDS += (900.0, 1200.0, 1800.0, 2700.0, 3600.0)
_PULL_BOUNDS = tuple(map(float, (1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)))
_RUNTIME_BOUNDS = tuple(0.005 * 2.5**i for i in range(14))
_SYNC_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0)
_OPERATION = ("operation_type",)
_FROM_CREATION = (
    "measured from pod creation timestamp to when all its containers are reported as started and observed via watch"
)
_MIB, _GIB = 1 << 20, 1 << 30
_SIZES = (
    (100 * _GIB, "GT100GB"),
    (60 * _GIB, "60GB-100GB"),
    (40 * _GIB, "40GB-60GB"),
    (30 * _GIB, "30GB-40GB"),
    (20 * _GIB, "20GB-30GB"),
    (10 * _GIB, "10GB-20GB"),
    (5 * _GIB, "5GB-10GB"),
    (_GIB, "1GB-5GB"),
    (500 * _MIB, "500MB-1GB"),
    (100 * _MIB, "100MB-500MB"),
    (10 * _MIB, "10MB-100MB"),
    (0, "0-10MB"),
)


def size_class(size: int) -> str:
    """The label of an image of so many bytes in `kubelet_image_pull_duration_seconds`."""
    return next(label for least, label in _SIZES if size >= least)


_REJECTIONS = frozenset(
    (
        "AppArmor",
        "PodOSSelectorNodeLabelDoesNotMatch",
        "PodOSNotSupported",
        "InvalidNodeInfo",
        "Evicted",
        "InitContainerRestartPolicyForbidden",
        "SupplementalGroupsPolicyNotSupported",
        "UnexpectedAdmissionError",
        "UnknownReason",
        "UnexpectedPredicateFailureType",
        "OutOfcpu",
        "OutOfmemory",
        "OutOfephemeral-storage",
        "OutOfpods",
        "PodLevelResourcesNotSupported",
        "PodFeatureUnsupported",
        "SysctlForbidden",
        "NodeShutdown",
        "TopologyAffinityError",
        "VolumeAttachmentLimitExceeded",
    )
)


def rejection_class(reason: str) -> str:
    """The label of a pod's rejection for that reason in `kubelet_admission_rejections_total`: a known few."""
    if reason in _REJECTIONS:
        return reason
    return "OutOfExtendedResources" if reason.startswith("OutOf") else "Other"


def _counter(text: str, *labels: str) -> Family:
    return Family(COUNTER, f"[ALPHA] {text}", labels)


def _gauge(text: str, *labels: str) -> Family:
    return Family(GAUGE, f"[ALPHA] {text}", labels)


def _histogram(text: str, *labels: str, bounds: tuple[float, ...] | None = None) -> Family:
    made = Family(HISTOGRAM, f"[ALPHA] {text}", labels)
    return made if bounds is None else made._replace(bounds=bounds)


_PODS: Mapping[str, Family] = {
    "containers_per_pod_count": _histogram(
        "The number of containers per pod.", bounds=tuple(float(2**i) for i in range(5))
    ),
    "pod_worker_duration_seconds": _histogram(
        "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync", *_OPERATION
    ),
    "pod_worker_start_duration_seconds": _histogram(
        "Duration in seconds from kubelet seeing a pod to starting a worker."
    ),
    "pod_start_duration_seconds": _histogram(
        "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
        bounds=_START_BOUNDS,
    ),
    "pod_start_sli_duration_seconds": _histogram(
        f"Duration in seconds to start a pod, excluding time to pull images and run init containers, {_FROM_CREATION}",
        bounds=_START_BOUNDS,
    ),
    "pod_start_total_duration_seconds": _histogram(
        "Duration in seconds to start a pod since creation, including time to pull images and run init containers, "
        + _FROM_CREATION,
        bounds=_START_BOUNDS,
    ),
    "first_network_pod_start_sli_duration_seconds": Family(
        GAUGE,
        "[INTERNAL] Duration in seconds to start the first network pod, excluding time to pull images and run init "
        f"containers, {_FROM_CREATION}",
    ),
    "pod_status_sync_duration_seconds": _histogram(
        "Duration in seconds to sync a pod status update. Measures time from detection of a change to pod status until "
        "the API is successfully updated for that pod, even if multiple intevening changes to pod status occur.",
        bounds=_SYNC_BOUNDS,
    ),
    "desired_pods": _gauge(
        "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the "
        "apiserver.",
        "static",
    ),
    "mirror_pods": _gauge("The number of mirror pods the kubelet will try to create (one per admitted static pod)"),
    "managed_ephemeral_containers": _gauge("Current number of ephemeral containers in pods managed by this kubelet."),
    "started_pods_total": _counter("Cumulative number of pods started"),
    "started_pods_errors_total": _counter("Cumulative number of errors when starting pods"),
    "started_user_namespaced_pods_total": _counter(
        "Cumulative number of pods with user namespaces started. This metric will only be collected on Linux."
    ),
    "started_user_namespaced_pods_errors_total": _counter(
        "Cumulative number of errors when starting pods with user namespaces. This metric will only be collected on "
        "Linux."
    ),
    "started_containers_total": _counter("Cumulative number of containers started", "container_type"),
    "started_containers_errors_total": _counter(
        "Cumulative number of errors when starting containers", "container_type", "code"
    ),
    "terminated_containers_total": _counter(
        "Cumulative number of container terminations.", "container_type", "exit_code", "reason"
    ),
    "admission_rejections_total": _counter("Cumulative number pod admission rejections by the Kubelet.", "reason"),
    "evictions": _counter("Cumulative number of pod evictions by eviction signal", "eviction_signal"),
    "preemptions": _counter("Cumulative number of pod preemptions by preemption resource", "preemption_signal"),
    "graceful_shutdown_start_time_seconds": _gauge("Last graceful shutdown start time since unix epoch in seconds"),
    "graceful_shutdown_end_time_seconds": _gauge("Last graceful shutdown end time since unix epoch in seconds"),
}
_RUNTIME: Mapping[str, Family] = {
    "runtime_operations_total": _counter("Cumulative number of runtime operations by operation type.", *_OPERATION),
    "runtime_operations_errors_total": _counter(
        "Cumulative number of runtime operation errors by operation type.", *_OPERATION
    ),
    "runtime_operations_duration_seconds": _histogram(
        "Duration in seconds of runtime operations. Broken down by operation type.",
        *_OPERATION,
        bounds=_RUNTIME_BOUNDS,
    ),
    "run_podsandbox_duration_seconds": _histogram(
        "Duration in seconds of the run_podsandbox operations. Broken down by RuntimeClass.Handler.", "runtime_handler"
    ),
    "run_podsandbox_errors_total": _counter(
        "Cumulative number of the run_podsandbox operation errors by RuntimeClass.Handler.", "runtime_handler"
    ),
    "pleg_relist_duration_seconds": _histogram("Duration in seconds for relisting pods in PLEG."),
    "pleg_relist_interval_seconds": _histogram("Interval in seconds between relisting in PLEG."),
    "pleg_pod_relist_duration_seconds": _histogram("Duration in seconds for relisting a single pod in PLEG."),
    "pleg_last_seen_seconds": _gauge("Timestamp in seconds when PLEG was last seen active."),
    "pleg_discard_events": _counter("The number of discard events in PLEG."),
    "evented_pleg_connection_success_count": _counter(
        "The number of times a streaming client was obtained to receive CRI Events."
    ),
    "cgroup_manager_duration_seconds": _histogram(
        "Duration in seconds for cgroup manager operations. Broken down by method.", *_OPERATION
    ),
    "cgroup_version": _gauge("cgroup version on the hosts."),
}
_IMAGES: Mapping[str, Family] = {
    "image_pull_duration_seconds": _histogram(
        "Duration in seconds to pull an image.", "image_size_in_bytes", bounds=_PULL_BOUNDS
    ),
    "image_garbage_collected_total": _counter(
        "Total number of images garbage collected by the kubelet, whether through disk usage or image age.", "reason"
    ),
    "image_manager_ensure_image_requests_total": _counter(
        "Number of ensure-image requests processed by the kubelet.", "pull_policy", "present_locally", "pull_required"
    ),
    "imagemanager_image_mustpull_checks_total": _counter(
        "Counter for how many times kubelet checked whether credentials need to be re-verified to access an image",
        "result",
    ),
    "imagemanager_ondisk_pullintents": _gauge("Number of ImagePullIntents stored on disk."),
    "imagemanager_ondisk_pulledrecords": _gauge("Number of ImagePulledRecords stored on disk."),
}
FAMILIES: Mapping[str, Family] = {f"kubelet_{name}": made for name, made in {**_PODS, **_RUNTIME, **_IMAGES}.items()}
"""All of them, by their whole names."""
