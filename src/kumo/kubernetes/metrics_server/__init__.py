"""The resource metrics API `metrics.k8s.io/v1beta1`: what nodes and pods use now, for `kubectl top` and autoscalers.

`component` asks each node's kubelet for `/metrics/resource`, `page` reads the answer, `points` keeps the last two looks
at everything and makes usage of them, `api` serves it as an API group. Upstream: the metrics-server.
"""

from kumo.kubernetes.metrics_server.component import MetricsServer, MetricsServerConfig

__all__ = ["MetricsServer", "MetricsServerConfig"]
