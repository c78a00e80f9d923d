"""`GET /metrics`: the kubelet's own figures, by upstream's names (`pkg/kubelet/metrics`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kumo.api.kubernetes_version import GIT_VERSION, VERSION
from kumo.api.objects import Object, annotations_of, namespace_of
from kumo.kubernetes.kubelet.podstate import PodState
from kumo.kubernetes.kubelet.stats.meter import Meter
from kumo.kubernetes.kubelet.stats.pod_files import PodFiles
from kumo.machinery.exposition import Histogram, Sample, counts, family, histograms
from kumo.machinery.http import Request

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NODE_NAME = "[ALPHA] The node's name. The count is always 1."
_MIRROR = "kubernetes.io/config.mirror"
_SOURCE = "kubernetes.io/config.source"
_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"))
_LONG = frozenset(("attach", "containerLogs", "exec", "portForward"))
_PAGES = ("metrics", "metrics/cadvisor", "metrics/probes", "metrics/resource")
_PATHS = _LONG.union(("healthz", "pods", "runningpods", "stats"), _PAGES)
_CLAIM = ("namespace", "persistentvolumeclaim")
_VOLUMES = (
    ("available_bytes", "Number of available bytes in the volume", "available"),
    ("capacity_bytes", "Capacity in bytes of the volume", "capacity"),
    ("inodes", "Maximum number of inodes in the volume", "inodes"),
    ("inodes_free", "Number of free inodes in the volume", "inodes_free"),
    ("inodes_used", "Number of used inodes in the volume", "inodes_used"),
    ("used_bytes", "Number of used bytes in the volume", "used"),
)


class RequestCounts:
    """The requests to the node's own API, by method and first part of the path."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}
        self._durations: dict[tuple[str, ...], Histogram] = {}

    def count(self, request: Request, seconds: float) -> None:
        """Note one answered request."""
        path = request.path.strip("/")
        first = path if path.startswith("metrics/") else path.partition("/")[0]
        method = request.method if request.method in _METHODS else "other"
        key = (method, first if first in _PATHS else "other", "readwrite", str(first in _LONG).lower())
        self._counts[key] = self._counts.get(key, 0) + 1
        if key not in self._durations:
            self._durations[key] = Histogram(_BOUNDS)
        self._durations[key].observe(seconds)

    def lines(self) -> list[str]:
        """The families."""
        labels = ("method", "path", "server_type", "long_running")
        total = "[ALPHA] Number of the http requests received since the server started"
        lasted = "[ALPHA] Duration in seconds to serve http requests"
        return [
            *histograms("kubelet_http_requests_duration_seconds", lasted, labels, self._durations.items()),
            *family("counter", "kubelet_http_requests_total", total, labels, self._counts.items()),
        ]


def pod_lines(node: str, pods: Iterable[tuple[Object, PodState]]) -> list[str]:
    """How many pods and containers there are, and in which states."""
    states: Counter[str] = Counter()
    active: Counter[str] = Counter()
    running = 0
    for pod, state in pods:
        active["true" if _MIRROR in annotations_of(pod) else ""] += 1
        running += 1 if state.ready_sandbox is not None else 0
        states.update(c.state for c in state.containers)
    kinds: Mapping[str, int] = {"": 0, "true": 0, **active}
    return [
        *family(
            "gauge",
            "kubelet_active_pods",
            "[ALPHA] The number of pods the kubelet considers active and which are being considered when admitting "
            "new pods. static is true if the pod is not from the apiserver.",
            ("static",),
            counts(kinds),
        ),
        *family(
            "gauge", "kubelet_node_name", "[ALPHA] The node's name. The count is always 1.", ("node",), [((node,), 1)]
        ),
        *family(
            "gauge",
            "kubelet_running_containers",
            "[ALPHA] Number of containers currently running",
            ("container_state",),
            counts(states),
        ),
        *family(
            "gauge",
            "kubelet_running_pods",
            "[ALPHA] Number of pods that have a running pod sandbox",
            (),
            [((), running)],
        ),
    ]


def fill(meter: Meter, pods: Sequence[Object]) -> None:
    """Set the gauges that say how many pods there are."""
    static = sum(1 for pod in pods if annotations_of(pod).get(_SOURCE) == "file")
    meter.fill("kubelet_desired_pods", {("",): len(pods) - static, ("true",): static})
    meter.put("kubelet_mirror_pods", static)
    extra = sum(len(pod["spec"].get("ephemeralContainers") or ()) for pod in pods)
    meter.put("kubelet_managed_ephemeral_containers", extra)
    meter.put("kubelet_cgroup_version", 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1)


def volume_lines(pods: Iterable[Object], files: PodFiles) -> list[str]:
    """The file systems of claims. Blocking; a claim that several pods mount counts once."""
    found: dict[tuple[str, str], object] = {}
    for pod in pods:
        for volume in files.claims(pod):
            found[(namespace_of(pod), volume.claim)] = volume.use
    lines: list[str] = []
    for name, text, attribute in _VOLUMES:
        samples: list[Sample] = [(claim, float(getattr(use, attribute))) for claim, use in sorted(found.items())]
        lines += family("gauge", f"kubelet_volume_stats_{name}", f"[ALPHA] {text}", _CLAIM, samples)
    return lines


def build_lines() -> list[str]:
    """Which version this is."""
    major, minor, _ = VERSION.split(".")
    text = "[ALPHA] A metric with a constant '1' value labeled by major, minor, git version."
    return family(
        "gauge", "kubernetes_build_info", text, ("major", "minor", "git_version"), [((major, minor, GIT_VERSION), 1)]
    )
