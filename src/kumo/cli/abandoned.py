"""What killed processes have left of pods' networks: addresses, devices and namespaces of sandboxes that are no more.

A sandbox that is just being made is known to nobody but containerd for a moment. So what nobody knows at the start is
looked at again after a while, and only what was abandoned both times is taken away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import structlog

from kumo.cli.leftovers import remove_namespace
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.host.network.agent import PodNetwork
from kumo.host.network.leases import Lease

_log = structlog.get_logger("kumo.node")
_BETWEEN = 30.0
"""Seconds between the two looks: longer than a sandbox takes to be made."""


def unknown(leases: Iterable[Lease], namespaces: Iterable[Path], living: Iterable[str]) -> tuple[set[str], set[Path]]:
    """The sandboxes (ids) that have an address and do not live, and the namespaces that no living one uses. Pure."""
    alive, leases = set(living), list(leases)
    used = {Path(lease.netns).name for lease in leases if lease.container in alive}
    gone = {lease.container for lease in leases if lease.container not in alive}
    return gone, {path for path in namespaces if path.name not in used}


class Abandoned:
    """Looks once, `between` seconds apart, and then has nothing more to do."""

    name = "abandoned-networks"

    def __init__(self, network: PodNetwork, engine: Containerd, state: Path, between: float = _BETWEEN) -> None:
        self._network = network
        self._engine = engine
        self._state = state
        self._between = between
        self.done = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled."""
        first = await self._look()
        await asyncio.sleep(self._between)
        second = await self._look()
        gone, spaces = first[0] & second[0], first[1] & second[1]
        if gone or spaces:
            await asyncio.to_thread(self._remove, gone, spaces)
            _log.info("removed what was left of pods' networks", sandboxes=len(gone), namespaces=len(spaces))
        self.done.set()
        await asyncio.Event().wait()

    async def _look(self) -> tuple[set[str], set[Path]]:
        while True:
            try:
                living = [box.id for box in await self._engine.runtime.list_sandboxes()]
                break
            except EngineError as error:
                _log.info("can't look for leftovers yet", error=error.message)
                await asyncio.sleep(1.0)
        spaces = await asyncio.to_thread(lambda: list(self._state.glob("*/netns/*")))
        return unknown(self._network.leases(), spaces, living)

    def _remove(self, gone: set[str], spaces: set[Path]) -> None:
        self._network.abandon(gone)
        for path in spaces:
            remove_namespace(path)
