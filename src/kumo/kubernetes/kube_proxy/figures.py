"""What a kube-proxy has measured, under upstream's names (`kubeproxy_*`), in Prometheus' text format."""

from __future__ import annotations

import time
from collections.abc import Mapping

from kumo.kubernetes.kube_proxy.config import Family
from kumo.machinery.exposition import Histogram, family, histograms

_PREFIX = "kubeproxy_"
_BOUNDS = tuple(0.001 * 2**n for n in range(15))


class Figures:
    """Counters and times by family of addresses."""

    def __init__(self, families: tuple[Family, ...]) -> None:
        kinds = [f.kind for f in families]
        self.synced = {k: Histogram(_BOUNDS) for k in kinds}
        self.whole = {k: Histogram(_BOUNDS) for k in kinds}
        self.partial = {k: Histogram(_BOUNDS) for k in kinds}
        self.last_synced = dict.fromkeys(kinds, 0.0)
        self.last_queued = dict.fromkeys(kinds, 0.0)
        self.failures = dict.fromkeys(kinds, 0)
        self.without_local: dict[str, dict[str, int]] = {k: {"internal": 0, "external": 0} for k in kinds}
        self.forgotten = dict.fromkeys(kinds, 0)
        self.forgetting = {k: Histogram(_BOUNDS) for k in kinds}
        self.services = self.endpoints = 0
        """Changes seen so far."""
        self.pending_services = self.pending_endpoints = 0
        self.health: dict[tuple[str, str], int] = {}
        """Answers by path and code."""

    def queued(self) -> None:
        """Something has changed."""
        self.last_queued = dict.fromkeys(self.last_queued, time.time())

    def done(self, kinds: tuple[str, ...], seconds: float, *, whole: bool) -> None:
        """The kernel has what is wanted; `seconds` is how long it took."""
        for kind in kinds:
            self.synced[kind].observe(seconds)
            (self.whole if whole else self.partial)[kind].observe(seconds)
            self.last_synced[kind] = time.time()
        self.pending_services = self.pending_endpoints = 0

    def text(self) -> str:
        """The page."""
        return "\n".join([*self._times(), *self._stamps(), *self._counts(), *self._health()]) + "\n"

    def _times(self) -> list[str]:
        sync = "SyncProxyRules latency in seconds"
        flows = "ReconcileConntrackFlowsLatency latency in seconds"
        return [
            *_histograms("sync_proxy_rules_duration_seconds", sync, self.synced),
            *_histograms("sync_full_proxy_rules_duration_seconds", f"{sync} for full resyncs", self.whole),
            *_histograms("sync_partial_proxy_rules_duration_seconds", f"{sync} for partial resyncs", self.partial),
            *_histograms("conntrack_reconciler_sync_duration_seconds", flows, self.forgetting),
        ]

    def _stamps(self) -> list[str]:
        synced = "The last time proxy rules were successfully synced"
        queued = "The last time a sync of proxy rules was queued"
        return [
            *_by_family("gauge", "sync_proxy_rules_last_timestamp_seconds", synced, self.last_synced),
            *_by_family("gauge", "sync_proxy_rules_last_queued_timestamp_seconds", queued, self.last_queued),
        ]

    def _counts(self) -> list[str]:
        failures = "Cumulative proxy nftables sync failures"
        flows = "Cumulative conntrack flows deleted by conntrack reconciler"
        lines = [
            *_by_family("counter", "sync_proxy_rules_nftables_sync_failures_total", failures, self.failures),
            *_by_family("counter", "conntrack_reconciler_deleted_entries_total", flows, self.forgotten),
        ]
        for kind, name, text, number in (
            ("gauge", "endpoint_changes_pending", "Pending proxy rules Endpoint changes", self.pending_endpoints),
            ("counter", "endpoint_changes_total", "Cumulative proxy rules Endpoint changes", self.endpoints),
            ("gauge", "service_changes_pending", "Pending proxy rules Service changes", self.pending_services),
            ("counter", "service_changes_total", "Cumulative proxy rules Service changes", self.services),
        ):
            lines += family(kind, f"{_PREFIX}sync_proxy_rules_{name}", text, (), [((), number)])
        samples = [((k, p), n) for k, found in self.without_local.items() for p, n in found.items()]
        text = "Number of services with a Local traffic policy and no endpoints"
        name = f"{_PREFIX}sync_proxy_rules_no_local_endpoints_total"
        return lines + family("gauge", name, text, ("ip_family", "traffic_policy"), samples)

    def _health(self) -> list[str]:
        lines = []
        for path in ("healthz", "livez"):
            found = [((code,), n) for (p, code), n in sorted(self.health.items()) if p == path]
            text = f"Cumulative proxy {path} HTTP status"
            lines += family("counter", f"{_PREFIX}proxy_{path}_total", text, ("code",), found)
        return lines


def _by_family(kind: str, name: str, text: str, values: Mapping[str, float]) -> list[str]:
    return family(kind, _PREFIX + name, text, ("ip_family",), [((k,), n) for k, n in values.items()])


def _histograms(name: str, text: str, values: Mapping[str, Histogram]) -> list[str]:
    return histograms(_PREFIX + name, text, ("ip_family",), [((k,), h) for k, h in values.items()])
