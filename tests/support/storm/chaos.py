"""Who is killed, and when: all of it follows from a seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from kumo.cli import leftovers
from kumo.cli.instance import Instance, load
from kumo.cli.status import children
from kumo.cli.supervisor import lock_holder
from support.cloud import Cloud

DAEMONS = ("control-plane", "node", "containerd")
_PLANS: tuple[tuple[str, ...], ...] = (
    ("control-plane",),
    ("node",),
    ("containerd",),
    ("haproxy",),
    ("control-plane", "node"),
    ("node", "containerd"),
    ("control-plane", "containerd"),
    DAEMONS,
    ("supervisor",),
    ("supervisor", *DAEMONS),
)


class Chaos:
    """Kills processes of a cloud. `killed` tells how often whom."""

    def __init__(self, cloud: Cloud, seed: int, plans: Sequence[tuple[str, ...]] = _PLANS) -> None:
        found = load(cloud.data_dir)
        assert found is not None
        self.instance: Instance = found
        self.cloud = cloud
        self.chance = random.Random(seed)
        self.plans = plans
        self.told: list[str] = []

    async def run(self, seconds: float, pause: float = 6.0) -> None:
        """Kill for so many seconds, up to `pause` seconds apart, now and then twice at once; the supervisor is back."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(self.chance.uniform(0.2, pause))
            for _ in range(self.chance.choice((1, 1, 2, 3))):  # again, amid the restart
                await self.strike(self.chance.choice(self.plans))
                await asyncio.sleep(self.chance.uniform(0.0, 1.0))

    async def strike(self, names: tuple[str, ...]) -> None:
        """Kill these processes, as far as they run; a killed supervisor is started again."""
        pids = {name: pid for name in names if (pid := self.pid(name))}
        self.told.append(f"{time.strftime('%T')} {'+'.join(pids)}")
        for pid in pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if "supervisor" in names:
            await asyncio.sleep(self.chance.uniform(0.0, 0.5))
            await asyncio.to_thread(self.cloud.up)

    def pid(self, name: str) -> int:
        """The pid of one of the instance's processes; 0 when it does not run."""
        holder = lock_holder(self.instance) or 0
        if name == "supervisor" or not holder:
            return holder
        among = leftovers.daemons(self.instance) if name == "haproxy" else children(holder)
        return next((pid for pid in among if _is(pid, name)), 0)


def _is(pid: int, name: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    module = f"kumo.cli.{name.replace('-', '_')}".encode()
    return module in words or Path(words[0].decode()).name == name
