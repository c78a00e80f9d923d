"""How long pods take to start, and what became of their containers, told to the `Meter` with each status.

Upstream: `pkg/kubelet/util/pod_startup_latency_tracker.go`, `pkg/kubelet/status/status_manager.go`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, parse_timestamp, uid_of
from kumo.kubernetes.kubelet.stats.meter import Meter

_KINDS = (
    ("containerStatuses", "container"),
    ("initContainerStatuses", "init_container"),
    ("ephemeralContainerStatuses", "ephemeral_container"),
)
_PASSING = ("secret", "configMap", "downwardAPI", "emptyDir", "projected")
Status = Mapping[str, Any]


@dataclass(slots=True)
class _Pod:
    seen: float
    fresh: bool
    """It had not begun when it was first seen, and has not started since."""
    phase: str = ""
    ended: set[tuple[str, str]] = field(default_factory=set)
    """Kind and name of the containers that are known to have ended."""


class PodTimes:
    """One node's pods. `pulling` says for how many seconds a pod (its uid) has waited for images."""

    def __init__(self, meter: Meter, pulling: Callable[[str], float]) -> None:
        self._meter = meter
        self._pulling = pulling
        self._pods: dict[str, _Pod] = {}
        self._first = True

    def seen(self, pod: Object) -> None:
        """A pod is here for the first time (since the kubelet began)."""
        status = pod.get("status") or {}
        known = _Pod(time.monotonic(), not status.get("startTime"), status.get("phase") or "")
        known.ended = _ended(status)
        self._pods[uid_of(pod)] = known
        if pod["spec"].get("containers"):
            self._meter.observe("kubelet_containers_per_pod_count", len(pod["spec"]["containers"]))

    def stepped(self, uid: str, kind: str, began: float) -> None:
        """A worker has gone through one round that began at that time of the monotonic clock; `create` is the first."""
        now = time.monotonic()
        known = self._pods.get(uid)
        if kind == "create" and known is not None:
            self._meter.observe("kubelet_pod_worker_start_duration_seconds", began - known.seen)
        self._meter.observe("kubelet_pod_worker_duration_seconds", now - began, kind)

    def said(self, pod: Object, status: Status) -> None:
        """The pod's newest status, to be written."""
        known = self._pods.get(uid_of(pod))
        if known is None:
            return
        phase = status.get("phase") or ""
        if phase == "Running" and known.phase in ("", "Pending") and known.fresh:
            self._meter.observe("kubelet_pod_start_duration_seconds", time.monotonic() - known.seen)
        known.phase = phase
        ended = _ended(status)
        for key, kind in _KINDS:
            for entry in status.get(key) or ():
                over = (entry.get("state") or {}).get("terminated")
                if over and (kind, entry["name"]) not in known.ended:
                    code, reason = str(over.get("exitCode", 0)), over.get("reason") or ""
                    self._meter.count("kubelet_terminated_containers_total", kind, code, reason)
        known.ended = ended

    def written(self, pod: Object, seconds: float) -> None:
        """The API server has taken a status, so long after it was made; `pod` is what it has made of it."""
        self._meter.observe("kubelet_pod_status_sync_duration_seconds", seconds)
        known = self._pods.get(uid_of(pod))
        if known is None or not known.fresh:
            return
        status = pod.get("status") or {}
        entries = status.get("containerStatuses") or ()
        if status.get("phase") in ("Succeeded", "Failed"):
            known.fresh = False
        elif entries and all((e.get("state") or {}).get("running") for e in entries):
            known.fresh = False
            self._started(pod, status)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._pods.pop(uid, None)

    def _started(self, pod: Object, status: Status) -> None:
        whole = max(0.0, time.time() - parse_timestamp(pod["metadata"]["creationTimestamp"]))
        self._meter.observe("kubelet_pod_start_total_duration_seconds", whole)
        if is_stateful(pod):
            return
        own = max(0.0, whole - self._pulling(uid_of(pod)) - initializing(status))
        self._meter.observe("kubelet_pod_start_sli_duration_seconds", own)
        if self._first and not pod["spec"].get("hostNetwork"):
            self._first = False
            self._meter.put("kubelet_first_network_pod_start_sli_duration_seconds", own)


def is_stateful(pod: Object) -> bool:
    """Whether the pod has a volume that is more than files made for it. Pure."""
    volumes = pod["spec"].get("volumes") or ()
    return any(not any(v.get(kind) is not None for kind in _PASSING) for v in volumes)


def initializing(status: Status) -> float:
    """For how many seconds init containers have run that have ended. Pure."""
    spent = 0.0
    for entry in status.get("initContainerStatuses") or ():
        over = (entry.get("state") or {}).get("terminated") or {}
        if over.get("startedAt") and over.get("finishedAt"):
            spent += max(0.0, parse_timestamp(over["finishedAt"]) - parse_timestamp(over["startedAt"]))
    return spent


def _ended(status: Status) -> set[tuple[str, str]]:
    return {
        (kind, entry["name"])
        for key, kind in _KINDS
        for entry in status.get(key) or ()
        if (entry.get("state") or {}).get("terminated")
    }
