"""Asks the nodes, again and again, what they use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from kumo.api.conditions import is_true
from kumo.api.objects import Object, name_of
from kumo.api.resources import NODES, PODS
from kumo.kubernetes.metrics_server.api import NodeRow, PodRow, metrics_group
from kumo.kubernetes.metrics_server.page import read
from kumo.kubernetes.metrics_server.points import NodePoints, Usage, usage
from kumo.machinery.client import Reply, Transport, raise_for_status
from kumo.machinery.extension import ApiGroup
from kumo.machinery.informer import Informer, Informers

_PATH = "/metrics/resource"
_TRIES = 3
"""Failures in a row after which a node is asked seldom."""
_LARGEST = 16 << 20
"""Bytes of a page; a hundred pods need 60 kB."""
_ADDRESSES = ("InternalIP", "Hostname", "ExternalIP")
_NODE_INDEX, _SPACE_INDEX = "metrics-server/node", "metrics-server/namespace"
_log = structlog.get_logger("kumo.metrics-server")


@dataclass(frozen=True, slots=True)
class MetricsServerConfig:
    """Times in seconds."""

    resolution: float = 15.0
    """How often a node with pods is asked (metrics-server's `--metric-resolution`)."""
    patience: float = 10.0
    """How long an answer may take."""
    seldom: int = 4
    """A node without pods, and one that goes on not answering, is asked every so many times."""
    at_once: int = 32
    """Nodes asked side by side; with more than that, connections are not kept between two questions."""


class MetricsServer:
    """Serves `groups`; fresh as long as `run` runs. `dial` gives a transport to a kubelet at `https://host:port`."""

    name = "metrics-server"

    def __init__(
        self, informers: Informers, dial: Callable[[str], Transport], config: MetricsServerConfig | None = None
    ) -> None:
        self._config = config or MetricsServerConfig()
        self._dial = dial
        self._informers = informers
        self._known: dict[str, NodePoints] = {}
        self._failures: dict[str, int] = {}
        self._transports: dict[str, tuple[str, Transport]] = {}
        self.groups: tuple[ApiGroup, ...] = (metrics_group(self._node_rows, self._pod_rows),)

    async def run(self) -> None:
        """Ask until cancelled."""
        self._pods.add_index(_NODE_INDEX, _runs_on)
        self._pods.add_index(_SPACE_INDEX, lambda pod: (pod["metadata"].get("namespace") or "",))
        await self._nodes.wait_synced()
        await self._pods.wait_synced()
        turn = 0
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                await self._ask_all(turn)
                turn += 1
                due = max(due + self._config.resolution, loop.time())
                await asyncio.sleep(due - loop.time())
        finally:
            await asyncio.gather(*(t.close() for _, t in self._transports.values()))
            self._transports.clear()

    @property
    def _pods(self) -> Informer:
        return self._informers.informer(PODS)

    @property
    def _nodes(self) -> Informer:
        return self._informers.informer(NODES)

    # -- asking -------------------------------------------------------------------------------------------------------

    async def _ask_all(self, turn: int) -> None:
        nodes = {name_of(node): node for node in self._nodes.objects()}
        for name in self._transports.keys() - nodes.keys():
            await self._transports.pop(name)[1].close()
        for name in self._failures.keys() - nodes.keys():
            del self._failures[name]
        ways = {name: _kubelet_of(node) for name, node in nodes.items() if is_true(node, "Ready")}
        for name in self._known.keys() - ways.keys():
            del self._known[name]  # What was used while the node was well says nothing now.
        seldom = turn % self._config.seldom == 0
        asked = {name: url for name, url in ways.items() if url and (seldom or self._wanted(name))}
        places = asyncio.Semaphore(self._config.at_once)
        keep = len(asked) <= self._config.at_once

        async def ask(name: str, url: str) -> None:
            async with places:
                await self._ask(name, url, keep=keep)

        await asyncio.gather(*(ask(name, url) for name, url in asked.items()))

    def _wanted(self, name: str) -> bool:
        if self._failures.get(name, 0) > _TRIES:
            return False
        # Until two looks are known nothing can be told of a node.
        points = self._known.get(name)
        if points is None or points.node is None or points.node.before is None:
            return True
        return bool(self._pods.by_index(_NODE_INDEX, name))

    async def _ask(self, name: str, url: str, *, keep: bool) -> None:
        try:
            transport = await self._transport(name, url)
            try:
                async with asyncio.timeout(self._config.patience):
                    text = await _page(transport)
            finally:
                if not keep:
                    await transport.close()
            page = read(text, time.time())
        except Exception as error:
            # Whatever a node answers must not keep the others from being asked.
            self._failed(name, str(error) or type(error).__name__)
            return
        self._failures.pop(name, None)
        self._known.setdefault(name, NodePoints()).store(page.node, page.containers, self._config.resolution)

    async def _transport(self, name: str, url: str) -> Transport:
        """The way to the node, which may have moved. Raises OSError."""
        known = self._transports.pop(name, None)
        if known is not None and known[0] != url:
            await known[1].close()
            known = None
        transport = known[1] if known is not None else self._dial(url)
        self._transports[name] = (url, transport)
        return transport

    def _failed(self, name: str, why: str) -> None:
        self._known.pop(name, None)
        self._failures[name] = self._failures.get(name, 0) + 1
        if self._failures[name] == 1:
            _log.warning("a node's usage is not known", node=name, reason=why)

    # -- telling ------------------------------------------------------------------------------------------------------

    def _node_rows(self) -> list[NodeRow]:
        rows = []
        for node in self._nodes.objects() if self._known else ():
            points = self._known.get(name_of(node))
            found = usage(points.node) if points is not None and points.node is not None else None
            if found is not None:
                rows.append((node, found))
        return rows

    def _pod_rows(self, namespace: str) -> list[PodRow]:
        rows: list[PodRow] = []
        if not self._known:
            return rows
        pods = self._pods.by_index(_SPACE_INDEX, namespace) if namespace else self._pods.objects()
        uses: dict[str, Mapping[tuple[str, str], Mapping[str, Usage | None]]] = {}
        for pod in pods:
            node = (pod.get("spec") or {}).get("nodeName") or ""
            if node not in self._known:
                continue
            if node not in uses:
                uses[node] = self._known[node].by_pod()
            meta = pod["metadata"]
            containers = uses[node].get((meta.get("namespace") or "", meta["name"]))
            if containers and _whole(containers):
                rows.append((pod, {name: use for name, use in containers.items() if use is not None}))
        return rows


async def _page(transport: Transport) -> str:
    """The page. Raises StatusError, ConnectionError, and ValueError for one that no node needs."""
    body = bytearray()
    async with transport.stream("GET", _PATH) as (status, chunks):
        async for chunk in chunks:
            body += chunk
            if len(body) > _LARGEST:
                raise ValueError(f"its page has more than {_LARGEST >> 20} MiB")
    raise_for_status(Reply(status, {}, bytes(body)))
    return body.decode(errors="replace")


def _whole(containers: Mapping[str, Usage | None]) -> bool:
    return all(use is not None for use in containers.values())


def _runs_on(pod: Object) -> tuple[str, ...]:
    node = (pod.get("spec") or {}).get("nodeName")
    return (node,) if node and (pod.get("status") or {}).get("phase") == "Running" else ()


def _kubelet_of(node: Object) -> str:
    """Where the node's kubelet is; empty when the node does not say (a hollow one has none)."""
    status: dict[str, Any] = node.get("status") or {}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    for kind in _ADDRESSES if port else ():
        for address in status.get("addresses") or ():
            host = address.get("address") or ""
            if address.get("type") == kind and host:
                return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return ""
