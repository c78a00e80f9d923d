"""The resource metrics API as the control plane takes it in."""

from __future__ import annotations

import ssl
import time

from kumo.cli.instance import Instance
from kumo.cli.prepare import Pki
from kumo.kubernetes.metrics_server import MetricsServer, MetricsServerConfig
from kumo.machinery.informer import Informers
from kumo.machinery.tls import client_context
from kumo.machinery.transport import HttpTransport

_CONTEXT_SECONDS = 600.0


def metrics_server(instance: Instance, pki: Pki, informers: Informers) -> MetricsServer:
    """The server of `metrics.k8s.io`; it comes to kubelets as the API server does."""
    made: list[tuple[float, ssl.SSLContext]] = []

    def dial(url: str) -> HttpTransport:
        # One context for all nodes, made anew now and then, so that renewed certificates are used.
        if not made or time.monotonic() - made[0][0] > _CONTEXT_SECONDS:
            pair = pki.kubelet_client
            made[:] = [(time.monotonic(), client_context(ca=pki.ca, cert=pair.cert, key=pair.key))]
        return HttpTransport(url, tls=made[0][1])

    return MetricsServer(informers, dial, MetricsServerConfig(resolution=instance.metric_resolution or 15.0))
