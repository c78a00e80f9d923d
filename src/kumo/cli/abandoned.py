"""What killed processes have left of sandboxes that are no more: addresses, devices, namespaces and shims.

A sandbox that is just being made is known to nobody but containerd for a moment. So what nobody knows when containerd
has come is looked at again after a while, and only what was abandoned both times is taken away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from kumo.cli import orphans
from kumo.cli.leftovers import remove_namespace
from kumo.host import mounts
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.host.network.agent import PodNetwork
from kumo.host.network.leases import Lease

_log = structlog.get_logger("kumo.node")
_RUNNING = 1
"""CRI's `CONTAINER_RUNNING`."""
_BETWEEN = 30.0
"""Seconds between the two looks: longer than a sandbox takes to be made."""


@dataclass(frozen=True, slots=True)
class Found:
    """What belongs to no living sandbox: the ids of those that have an address, namespaces, shims (pid and id)."""

    addresses: set[str] = field(default_factory=set)
    namespaces: set[Path] = field(default_factory=set)
    shims: set[tuple[int, str]] = field(default_factory=set)
    unnoticed: set[str] = field(default_factory=set)
    """Containers that have ended without CRI having noticed: their exit fell into a start of containerd (1.6)."""

    def and_still(self, other: Found) -> Found:
        """What both looks have found."""
        return Found(
            self.addresses & other.addresses,
            self.namespaces & other.namespaces,
            self.shims & other.shims,
            self.unnoticed & other.unnoticed,
        )

    def __bool__(self) -> bool:
        return bool(self.addresses or self.namespaces or self.shims or self.unnoticed)


def unknown(
    leases: Iterable[Lease],
    namespaces: Iterable[Path],
    shims: Iterable[tuple[int, Sequence[str]]],
    living: Iterable[str],
) -> Found:
    """What there is of sandboxes that do not live; shims are given by their pids and arguments. Pure."""
    alive, leases = set(living), list(leases)
    used = {Path(lease.netns).name for lease in leases if lease.container in alive}
    return Found(
        addresses={lease.container for lease in leases if lease.container not in alive},
        namespaces={path for path in namespaces if path.name not in used},
        shims={(pid, name) for pid, words in shims if (name := orphans.named(words)) and name not in alive},
    )


class Abandoned:
    """Looks at least twice, `between` seconds apart, each time that a containerd has come or something has ended.

    (A containerd that was killed once may later remove a sandbox, and forget its shim.) An idle node costs nothing.
    """

    name = "abandoned-sandboxes"

    def __init__(self, network: PodNetwork, engine: Containerd, directory: Path, between: float = _BETWEEN) -> None:
        """`directory` is containerd's."""
        self._network = network
        self._engine = engine
        self._directory = directory
        self._between = between
        self._came = asyncio.Event()
        self._connected = False
        """Whether containerd came since the last round."""
        self._restarted_for: set[str] = set()
        self.rounds = 0

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            while True:
                await self._came.wait()
                await self._round()
                self.rounds += 1

    async def _follow(self) -> None:
        async for event in self._engine.events.follow():
            if event.kind in ("connected", "exit"):
                self._connected |= event.kind == "connected"
                self._came.set()

    async def _round(self) -> None:
        """Look until nothing is found and nothing has happened."""
        before = await self._look()
        while True:
            self._came.clear()
            await asyncio.sleep(self._between)
            now = await self._look()
            if left := before.and_still(now):
                await asyncio.to_thread(self._remove, left)
                _log.info(
                    "removed what was left of sandboxes",
                    addresses=len(left.addresses),
                    namespaces=len(left.namespaces),
                    shims=len(left.shims),
                )
                self._have_noticed(left.unnoticed - self._restarted_for)
            if not now and not self._came.is_set():
                self._connected = False
                return
            before = now

    async def _look(self) -> Found:
        while True:
            # First what there is, then what lives: a sandbox is known before it has any of it.
            leases, spaces, shims = await asyncio.to_thread(self._there)
            try:
                living = [box.id for box in await self._engine.runtime.list_sandboxes()]
                containers = await self._engine.runtime.list_containers()
                living += [each.id for each in containers]
                running = [each.id for each in containers if each.state == _RUNNING] if self._connected else []
                ended = {each for each in running if await self._engine.tasks.has_ended(each)}
                return replace(unknown(leases, spaces, shims, living), unnoticed=ended)
            except EngineError as error:
                _log.info("can't look for leftovers yet", error=error.message)
                await asyncio.sleep(1.0)

    def _there(self) -> tuple[list[Lease], list[Path], list[tuple[int, list[str]]]]:
        spaces = list((self._directory / "state").glob("*/netns/*"))
        return list(self._network.leases()), spaces, orphans.shims(self._directory)

    def _have_noticed(self, containers: set[str]) -> None:
        """End containerd, whose supervisor starts it again: as it starts, it looks at what has ended."""
        if not containers:
            return
        self._restarted_for |= containers
        _log.warning("containerd has not noticed the end of containers: it is started again", count=len(containers))
        with contextlib.suppress(OSError):
            os.kill(self._engine.process(), signal.SIGTERM)

    def _remove(self, left: Found) -> None:
        self._network.abandon(left.addresses)
        for path in left.namespaces:
            remove_namespace(path)
        for pid, name in left.shims:
            orphans.end_shim(pid)
            for bundle in self._directory.glob(f"*/io.containerd.runtime.v*.task/*/{name}"):
                with contextlib.suppress(OSError):
                    Path((bundle / "address").read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)
                mounts.unmount_below(bundle)
                shutil.rmtree(bundle, ignore_errors=True)
