"""Who asks a node whether it can be given connections: `/healthz`, `/livez`, and each Service's health-check port.

The answers are upstream's: JSON, 200 or 503, and for a Service the number of its endpoints on this node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from kumo.api.objects import Key, Object, is_deleting
from kumo.kubernetes.kube_proxy.figures import Figures
from kumo.machinery.exposition import CONTENT_TYPE
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.listener import Listener, ListenError

_log = structlog.get_logger("kumo.kube-proxy")
_JSON = {"X-Content-Type-Options": "nosniff"}
_LATE = 120.0
"""After how many seconds a change that did not get into the kernel makes the proxy ill (upstream: twice its longest
time between two syncs)."""
_TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"


class ProxyHealth:
    """Whether changes get into the kernel in time, by family of addresses."""

    def __init__(self, kinds: tuple[str, ...], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._updated: dict[str, datetime | None] = dict.fromkeys(kinds)
        self._pending: float | None = None

    def queued(self) -> None:
        """Something has changed that the kernel does not know yet."""
        if self._pending is None:
            self._pending = self._clock()

    def updated(self) -> None:
        """The kernel knows everything."""
        self._pending = None
        self._updated = dict.fromkeys(self._updated, datetime.now(UTC))

    @property
    def healthy(self) -> bool:
        """No change waits for too long."""
        return self._pending is None or self._clock() - self._pending < _LATE or not any(self._updated.values())

    def report(self, eligible: bool | None) -> tuple[bool, dict[str, Any]]:
        """Whether to answer 200, and the body; `eligible` is None where the node itself does not count."""
        good = self.healthy and eligible is not False
        now = datetime.now(UTC)
        known = {k: t for k, t in self._updated.items() if t is not None}
        body: dict[str, Any] = {
            "lastUpdated": _stamp(now if good else max(known.values(), default=datetime(1, 1, 1, tzinfo=UTC))),
            "currentTime": _stamp(now),
        }
        if eligible is not None:
            body["nodeEligible"] = eligible
        body["healthy"] = self.healthy
        body["status"] = {k: {"lastUpdated": _stamp(t), "healthy": self.healthy} for k, t in known.items()}
        return good, body


def _stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def is_eligible(node: Object | None) -> bool:
    """Whether load balancers may use the node: it exists, and nobody is about to take it away."""
    if node is None or is_deleting(node):
        return False
    return all(t.get("key") != _TO_BE_DELETED for t in (node.get("spec") or {}).get("taints") or ())


class ProxyPages:
    """`/healthz` and `/livez` at one address, `/metrics` at another; one that is taken is done without."""

    def __init__(
        self, health: ProxyHealth, figures: Figures, node: Callable[[], Object | None], healthz: str, metrics: str
    ) -> None:
        self._health = health
        self._figures = figures
        self._node = node
        self._listeners = [
            Listener(handler, host=where.rpartition(":")[0], port=int(where.rpartition(":")[2]), grace=0.5, name=name)
            for handler, where, name in (
                (self.health, healthz, "kube-proxy health"),
                (self.metrics, metrics, "kube-proxy metrics"),
            )
            if where
        ]

    async def start(self) -> None:
        """Listen where that is possible."""
        for listener in self._listeners:
            try:
                await listener.start()
            except ListenError as error:
                _log.warning("a page of kube-proxy's is not served", page=listener.name, error=str(error))

    async def stop(self) -> None:
        """Listen no more."""
        for listener in self._listeners:
            await listener.stop()

    async def health(self, request: Request) -> Answer:
        """`/healthz` and `/livez`; the latter does not look at the node."""
        if request.path not in ("/healthz", "/livez"):
            return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
        eligible = is_eligible(self._node()) if request.path == "/healthz" else None
        good, body = self._health.report(eligible)
        code = 200 if good else 503
        counted = (request.path[1:], str(code))
        self._figures.health[counted] = self._figures.health.get(counted, 0) + 1
        return Response(code, msgspec.json.encode(body), "application/json", dict(_JSON))

    async def metrics(self, request: Request) -> Answer:
        """`/metrics`, `/proxyMode` and `/healthz`, as upstream's metrics server."""
        match request.path:
            case "/metrics":
                return Response(200, self._figures.text().encode(), CONTENT_TYPE)
            case "/proxyMode":
                return Response(200, b"nftables", "text/plain; charset=utf-8")
            case "/healthz":
                return Response(200, b"ok", "text/plain; charset=utf-8")
        return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")


class ServiceHealth:
    """One small HTTP server for each Service that has a health-check node port."""

    def __init__(self, health: ProxyHealth) -> None:
        self._health = health
        self._counts: dict[Key, int] = {}
        self._serving: dict[Key, Listener] = {}
        self._wanted: dict[Key, int] = {}
        self._lock = asyncio.Lock()

    async def change(self, ports: Mapping[Key, int], counts: Mapping[Key, int]) -> list[tuple[Key, int, str]]:
        """Serve on these ports (0: no more), with these counts of local endpoints; the ports that are not to be had."""
        failed = []
        async with self._lock:
            self._counts.update({k: n for k, n in counts.items() if ports.get(k)})
            for key, port in ports.items():
                if self._wanted.get(key, 0) == port and (not port or key in self._serving):
                    continue
                old = self._serving.pop(key, None)
                if old is not None:
                    await old.stop()
                self._wanted.pop(key, None)
                if not port:
                    self._counts.pop(key, None)
                    continue
                self._wanted[key] = port
                error = await self._open(key, port)
                if error:
                    failed.append((key, port, error))
        return failed

    async def _open(self, key: Key, port: int) -> str:
        async def answer(_: Request) -> Answer:
            return self.answer(key)

        listener = Listener(answer, host="", port=port, grace=0.5, name=f"health of {key}")
        try:
            await listener.start()
        except ListenError as error:
            return str(error)
        self._serving[key] = listener
        return ""

    def answer(self, key: Key) -> Response:
        """What load balancers are told about the Service."""
        count, healthy = self._counts.get(key, 0), self._health.healthy
        body = {
            "service": {"namespace": key.namespace, "name": key.name},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        }
        headers = {**_JSON, "X-Load-Balancing-Endpoint-Weight": str(count)}
        text = msgspec.json.format(msgspec.json.encode(body), indent=2)
        return Response(200 if count and healthy else 503, text, "application/json", headers)

    async def close(self) -> None:
        """Serve nothing more."""
        for listener in self._serving.values():
            await listener.stop()
        self._serving.clear()
