"""Counters and histograms by labels, for what is counted in other places than a request's end; upstream's names.

Each is a dictionary from the labels' values to plain numbers: counting costs a look-up and an addition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kumo.machinery.exposition import Histogram, family, histograms

_MOST = 5000
"""So many combinations of labels are kept of each: what clients make up must not fill the memory."""
_REQUESTED = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_DECIDED = tuple(0.001 * 2**n for n in range(15))
_CALLED = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_EXPIRES = (0.0, 30 * _MINUTE, *(n * _HOUR for n in (1, 2, 6, 12)), *(n * _DAY for n in (1, 2, 4, 7, 30, 90, 180, 365)))
_BODIES = tuple(50_000.0 + 100_000 * n for n in range(31))


class Counted:
    """A counter (or, with `kind`, a gauge) by the values of `labels`."""

    __slots__ = ("_kind", "_labels", "_name", "_text", "counts")

    def __init__(self, name: str, text: str, labels: Sequence[str], kind: str = "counter") -> None:
        self._name, self._text, self._labels, self._kind = name, text, labels, kind
        self.counts: dict[tuple[str, ...], float] = {}

    def add(self, *values: str, number: float = 1) -> None:
        """Count once more (or `number` times) what has these labels."""
        found = self.counts.get(values)
        if found is not None or len(self.counts) < _MOST:
            self.counts[values] = (found or 0) + number

    def lines(self) -> list[str]:
        """The family in the text format; a counter without labels is there from the beginning."""
        counts = self.counts if self._labels or self.counts else {(): 0.0}
        return family(self._kind, self._name, self._text, self._labels, sorted(counts.items()))


class Timed:
    """A histogram by the values of `labels`."""

    __slots__ = ("_bounds", "_labels", "_name", "_text", "found")

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self.found: dict[tuple[str, ...], Histogram] = {}

    def of(self, *values: str) -> Histogram:
        """What to `observe` values of these labels with."""
        found = self.found.get(values)
        if found is None:
            found = Histogram(self._bounds)
            if len(self.found) < _MOST:
                self.found[values] = found
        return found

    def lines(self) -> list[str]:
        """The family in the text format."""
        return histograms(self._name, self._text, self._labels, sorted(self.found.items()))


class Instruments:
    """What the API server counts and measures besides its requests as a whole."""

    def __init__(self) -> None:
        by_resource = ("operation", "group", "resource")
        self.authentication = Timed(
            "authentication_duration_seconds",
            "[ALPHA] Authentication duration in seconds broken out by result.",
            ("result",),
            _DECIDED,
        )
        self.authorization = Timed(
            "authorization_duration_seconds",
            "[ALPHA] Authorization duration in seconds broken out by result.",
            ("result",),
            _DECIDED,
        )
        self.certificates = Timed(
            "apiserver_client_certificate_expiration_seconds",
            "[ALPHA] Remaining lifetime of the client certificates that requests came with.",
            (),
            _EXPIRES,
        )
        self.storage = Timed(
            "etcd_request_duration_seconds",
            "[ALPHA] Latency of the store's requests in seconds for each operation and object type.",
            by_resource,
            _REQUESTED,
        )
        self.storage_requests = Counted(
            "etcd_requests_total", "[ALPHA] Requests to the store for each operation and object type.", by_resource
        )
        self.storage_errors = Counted(
            "etcd_request_errors_total",
            "[ALPHA] Failed requests to the store for each operation and object type.",
            by_resource,
        )
        self.bodies = Timed(
            "apiserver_request_body_size_bytes",
            "[ALPHA] Size of request bodies in bytes broken out by resource and verb.",
            ("resource", "verb", "group"),
            _BODIES,
        )
        self.field_validation = Timed(
            "field_validation_request_duration_seconds",
            "[ALPHA] Response latency in seconds for each field validation value.",
            ("field_validation",),
            _REQUESTED,
        )
        self.deprecated = Counted(
            "apiserver_requested_deprecated_apis",
            "[STABLE] Deprecated APIs that have been requested, broken out by group, version, resource, subresource "
            "and the release that they will be removed in.",
            ("group", "version", "resource", "subresource", "removed_release"),
            kind="gauge",
        )
        self.clients = Counted(
            "rest_client_requests_total",
            "[ALPHA] Requests of the clients in this process, by status code, method, and host.",
            ("code", "method", "host"),
        )
        self.client_seconds = Timed(
            "rest_client_request_duration_seconds",
            "[ALPHA] Latency of the requests of the clients in this process in seconds, by verb and host.",
            ("verb", "host"),
            (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0),
        )
        self.webhooks = WebhookInstruments()
        self.policies = PolicyInstruments()

    def collectors(self) -> list[Callable[[], list[str]]]:
        """What gives each of them in the text format."""
        return [part.lines for part in vars(self).values()]


class WebhookInstruments:
    """Calls of admission webhooks. `type`: admit or validating."""

    def __init__(self) -> None:
        labels = ("name", "type", "operation", "rejected")
        self.seconds = Timed(
            "apiserver_admission_webhook_admission_duration_seconds",
            "[STABLE] Latency of admission webhooks in seconds, identified by name and broken out for each operation "
            "and type.",
            labels,
            _CALLED,
        )
        self.requests = Counted(
            "apiserver_admission_webhook_request_total",
            "[ALPHA] Requests to admission webhooks, identified by name and broken out for each type and operation; "
            "the code is 0 when there was no answer.",
            (*labels[:3], "code", "rejected"),
        )
        self.opened = Counted(
            "apiserver_admission_webhook_fail_open_count",
            "[ALPHA] Admission webhooks that failed and whose policy was to go on, by name and type.",
            labels[:2],
        )
        self.rejections = Counted(
            "apiserver_admission_webhook_rejection_count",
            "[ALPHA] Refusals by admission webhooks, by name, type, operation, kind of error and code.",
            (*labels[:3], "error_type", "rejection_code"),
        )

    def lines(self) -> list[str]:
        """All of them in the text format."""
        return [line for part in vars(self).values() for line in part.lines()]


class PolicyInstruments:
    """Checks of ValidatingAdmissionPolicies."""

    def __init__(self) -> None:
        labels = ("policy", "policy_binding", "error_type", "enforcement_action")
        self.checks = Counted(
            "apiserver_validating_admission_policy_check_total",
            "[BETA] Checks of validating admission policies, by policy, binding and what came of them.",
            labels,
        )
        self.seconds = Timed(
            "apiserver_validating_admission_policy_check_duration_seconds",
            "[BETA] Latency of validating admission policies in seconds, by policy, binding and what came of them.",
            labels,
            (5e-7, 0.001, 0.01, 0.1, 1.0),
        )

    def lines(self) -> list[str]:
        """Both in the text format."""
        return [*self.checks.lines(), *self.seconds.lines()]
