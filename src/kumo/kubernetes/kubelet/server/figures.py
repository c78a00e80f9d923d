"""The paths of the node's statistics: `/stats/summary` and `/metrics/...`."""

from __future__ import annotations

import msgspec

from kumo.api.errors import method_not_allowed
from kumo.kubernetes.kubelet.stats.provider import NodeStatistics
from kumo.machinery.exposition import CONTENT_TYPE
from kumo.machinery.http import Request, Response

_FALSE = ("", "0", "false", "f")


async def figures(statistics: NodeStatistics, request: Request) -> Response | None:
    """The page at the request's path, None when that is no page of statistics. Raises 405 for a write."""
    pages = {
        "/metrics": statistics.own_metrics,
        "/metrics/resource": statistics.resource_metrics,
        "/metrics/cadvisor": statistics.cadvisor_metrics,
        "/metrics/probes": statistics.probe_metrics,
    }
    path = request.path.rstrip("/")
    if path not in pages and path not in ("/stats/summary", "/stats"):
        return None
    # The Summary may be asked for by POST as well, as upstream's: older clients do.
    if request.method not in ("GET", "HEAD") and not (request.method == "POST" and path == "/stats/summary"):
        raise method_not_allowed()
    if path in pages:
        return Response(200, (await pages[path]()).encode(), CONTENT_TYPE)
    if path == "/stats":
        return None
    only = request.query.get("only_cpu_and_memory", "").lower() not in _FALSE
    return Response(200, msgspec.json.encode(await statistics.summary(only_cpu_and_memory=only)))
