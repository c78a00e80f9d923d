"""How the container runtime is asked: operations of the CRI, and looks at pods.

Looks stand for upstream's PLEG: there are no rounds over all pods here, each look at a pod's sandboxes and containers
(containerd's events say when) counts as one relisting.
"""

from __future__ import annotations

import time

from kumo.kubernetes.kubelet.stats.meter import Meter


class RuntimeFigures:
    """One node's."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._before: float | None = None

    def operation(self, name: str, seconds: float, failed: bool) -> None:
        """A call of the CRI has ended."""
        self._meter.count("kubelet_runtime_operations_total", name)
        self._meter.observe("kubelet_runtime_operations_duration_seconds", seconds, name)
        if failed:
            self._meter.count("kubelet_runtime_operations_errors_total", name)

    def looked(self, seconds: float) -> None:
        """A pod's containers were looked at."""
        now = time.monotonic()
        self._meter.observe("kubelet_pleg_relist_duration_seconds", seconds)
        self._meter.observe("kubelet_pleg_pod_relist_duration_seconds", seconds)
        if self._before is not None:
            self._meter.observe("kubelet_pleg_relist_interval_seconds", now - self._before)
        self._before = now
        self._meter.put("kubelet_pleg_last_seen_seconds", int(time.time()))

    def connected(self) -> None:
        """The runtime's events are followed (again)."""
        self._meter.count("kubelet_evented_pleg_connection_success_count")
        self._meter.put("kubelet_pleg_last_seen_seconds", int(time.time()))
