"""The shell: Node objects in, the kernel's overlay out."""

from __future__ import annotations

import asyncio

import structlog

from kumo.api.objects import Object, name_of
from kumo.api.resources import NODES
from kumo.host.network.config import OverlayConfig
from kumo.host.network.overlay import Overlay
from kumo.kubernetes.pod_network.peers import peer_of, peers
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.pod-network")
_RETRY_FIRST, _RETRY_LONGEST = 0.2, 30.0


class RangeChanged(Exception):
    """The node has been given another range of pod addresses (`args[0]`) than the one it works with."""


class NodeNetwork:
    """Leads to the other nodes' pods, and notices when this node's own range is another one.

    The overlay stays when this ends: pods go on talking. `run` raises RangeChanged.
    """

    name = "node-network"

    def __init__(self, config: OverlayConfig, node_name: str, informers: Informers) -> None:
        self._config = config
        self._family = 6 if ":" in config.address else 4
        self._node_name = node_name
        self._overlay = Overlay(config)
        self._nodes = informers.informer(NODES)
        self._wake = asyncio.Event()
        self._nodes.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        """Heartbeats are no news: only where a node is counts."""
        if (peer_of(old, self._family) if old else None) != (peer_of(new, self._family) if new else None):
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled. Raises RangeChanged."""
        await self._nodes.wait_synced()
        delay = _RETRY_FIRST
        while True:
            self._wake.clear()
            self._check_own()
            found = peers(self._nodes.objects(), self._node_name, self._config.cluster_cidr, self._family)
            try:
                await asyncio.to_thread(self._overlay.apply, found)
            except (OSError, LookupError) as error:
                _log.error("can't lead to other nodes' pods", error=str(error), again_in=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_LONGEST)
                continue
            _log.info("leads to other nodes' pods", nodes=len(found))
            delay = _RETRY_FIRST
            await self._wake.wait()

    def _check_own(self) -> None:
        own = self._nodes.get(self._node_name)
        peer = peer_of(own, self._family) if own is not None and name_of(own) == self._node_name else None
        if peer is not None and peer.pod_cidr != self._config.pod_cidr:
            raise RangeChanged(peer.pod_cidr)
