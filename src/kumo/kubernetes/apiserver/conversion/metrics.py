"""What is counted of conversions by webhooks, with upstream's names, labels and buckets."""

from __future__ import annotations

from kumo.machinery.exposition import Histogram, Sample, family, histograms

_BY_DEFINITION = tuple(0.001 * 2**power for power in range(15))
_BY_RESULT = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0)
_DEFINITION = ("crd_name", "from_version", "to_version", "succeeded")
_RESULT = ("result", "failure_type")


class ConversionMetrics:
    """Calls of conversion webhooks: how long, and with what result."""

    def __init__(self) -> None:
        self._by_definition: dict[tuple[str, ...], Histogram] = {}
        self._by_result: dict[tuple[str, ...], Histogram] = {}

    def observe(self, definition: str, source: str, target: str, failure: str, seconds: float) -> None:
        """Count a call that took `seconds`; `failure` is the type of failure, empty for none."""
        labels = (definition, source, target, "false" if failure else "true")
        self._by_definition.setdefault(labels, Histogram(_BY_DEFINITION)).observe(seconds)
        result = ("failure" if failure else "success", failure)
        self._by_result.setdefault(result, Histogram(_BY_RESULT)).observe(seconds)

    def forget(self, definition: str) -> None:
        """The definition is gone: what was counted of it must not fill the memory."""
        for labels in [key for key in self._by_definition if key[0] == definition]:
            del self._by_definition[labels]

    def lines(self) -> list[str]:
        """The families as text; none before the first call."""
        results = sorted(self._by_result.items())
        calls: list[Sample] = [(labels, float(sum(found.counts))) for labels, found in results]
        return [
            *histograms(
                "apiserver_crd_conversion_webhook_duration_seconds",
                "[ALPHA] CRD webhook conversion duration in seconds",
                _DEFINITION,
                sorted(self._by_definition.items()),
            ),
            *histograms(
                "apiserver_conversion_webhook_duration_seconds",
                "[ALPHA] Conversion webhook request latency",
                _RESULT,
                results,
            ),
            *family(
                "counter",
                "apiserver_conversion_webhook_request_total",
                "[ALPHA] Counter for conversion webhook requests with success/failure and failure error type",
                _RESULT,
                calls,
            ),
        ]
