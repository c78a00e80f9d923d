"""`GET /metrics/probes`: how often probes passed and failed, and how long they took (upstream's `prober_...`)."""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.machinery.exposition import Histogram, family, histograms

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SUCCESSFUL, FAILED, UNKNOWN = "successful", "failed", "unknown"
_Labels = tuple[str, ...]


class ProbeCounts:
    """Counts of one node's probes, kept as long as their pods."""

    def __init__(self) -> None:
        self._results: dict[_Labels, int] = {}
        self._durations: dict[_Labels, Histogram] = {}

    def count(self, pod: Object, container: str, kind: str, result: str, seconds: float) -> None:
        """Note one answer of a probe: `kind` is Liveness, Readiness or Startup."""
        whose = (container, name_of(pod), namespace_of(pod))
        key = (kind, result, *whose, uid_of(pod))
        self._results[key] = self._results.get(key, 0) + 1
        durations = self._durations.get((kind, *whose))
        if durations is None:
            durations = self._durations[(kind, *whose)] = Histogram(_BOUNDS)
        durations.observe(seconds)

    def forget(self, exists: Callable[[str], bool]) -> None:
        """Forget the pods whose uid no longer exists."""
        names = set()
        for key in list(self._results):
            if exists(key[-1]):
                names.add(key[2:5])
            else:
                del self._results[key]
        for labels in [k for k in self._durations if k[1:] not in names]:
            del self._durations[labels]

    def text(self, started: float) -> str:
        """The page; `started` is when this process started."""
        counted = "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result."
        lasted = "[ALPHA] Duration in seconds for a probe response."
        begun = "[ALPHA] Start time of the process since unix epoch in seconds."
        results = ("probe_type", "result", "container", "pod", "namespace", "pod_uid")
        durations = ("probe_type", "container", "pod", "namespace")
        sorted_durations = [(labels, self._durations[labels]) for labels in sorted(self._durations)]
        lines = [
            *family("gauge", "process_start_time_seconds", begun, (), [((), started)]),
            *histograms(
                "prober_probe_duration_seconds",
                lasted,
                durations,
                sorted_durations,
            ),
            *family("counter", "prober_probe_total", counted, results, sorted(self._results.items())),
        ]
        return "\n".join(lines) + "\n"
