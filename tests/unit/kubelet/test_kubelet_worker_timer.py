"""The worker's alarm: a look that is overdue is never put off by a later one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from kumo.kubernetes.kubelet.worker import PodWorker, Shared

pytestmark = pytest.mark.unit


def worker() -> PodWorker:
    tools = SimpleNamespace(engine=SimpleNamespace(runtime=None), events=None, probes=None, times=Mock())
    shared = cast("Shared", cast(Any, SimpleNamespace(actions=SimpleNamespace(tools=tools))))
    return PodWorker({"metadata": {"name": "p", "namespace": "n", "uid": "u"}}, shared)


async def test_an_overdue_alarm_still_rings() -> None:
    one = worker()
    one._wake.clear()
    loop = asyncio.get_running_loop()
    one._wake_after(0.001)
    soon = loop.time() + 0.001
    while loop.time() <= soon:  # the loop is busy: the alarm is due, and has not rung
        pass
    one._wake_after(60.0)
    async with asyncio.timeout(1.0):
        await one._wake.wait()


async def test_the_sooner_alarm_wins() -> None:
    one = worker()
    one._wake.clear()
    one._wake_after(60.0)
    one._wake_after(0.001)
    async with asyncio.timeout(1.0):
        await one._wake.wait()
    one._wake.clear()
    one._wake_after(0.001)
    async with asyncio.timeout(1.0):
        await one._wake.wait()
